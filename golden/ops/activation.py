# SPDX-License-Identifier: Apache-2.0
"""Activations as ReLU minus a small symmetric correction (Edge-MoE, section IV-C, for GELU)."""

from functools import lru_cache

import numpy as np

from golden.ops.arith import INT16, check_range, integers
from golden.spec.activations import ACT_IN_FRAC, ACT_OUT_FRAC, BY_CODE, CHORDS

_GAP = ACT_OUT_FRAC - ACT_IN_FRAC


@lru_cache
def _points(code: int) -> np.ndarray:
    return np.array(BY_CODE[code].delta or [0] * (CHORDS + 1), np.int64)


def delta(magnitude, code: int) -> np.ndarray:
    """``relu(u) - activation(u)`` for ``|u|``, 14 fraction bits, linearly interpolated between the table's points."""
    a, points, step = integers(magnitude, "magnitude"), _points(code), ACT_IN_FRAC + BY_CODE[code].step_log2
    i, f = np.minimum(a >> step, CHORDS - 1), a & ((1 << step) - 1)
    found = ((points[i] << step) + (points[i + 1] - points[i]) * f + (1 << step >> 1)) >> step
    return np.where(a >= CHORDS << step, 0, found)


def activate(u, code: int, act_shift: int = 0) -> np.ndarray:
    """int16 codes with 9 - s fraction bits, s = ``act_shift``, -> int64 with 14: ``(max(u, 0) << 5 + s) -
    delta(|u| << s)``; of ``none``, code 0, ``u`` itself.

    >>> activate([512, -512, 0, 32767, -32768], 2).tolist()  # GELU of 1, -1, 0 and both ends: 0.8413, -0.1587, 0, u, 0
    [13784, -2600, 0, 1048544, 0]
    >>> activate([256, -256, 32767], 2, 1).tolist()  # 1, -1, and nearly 128
    [13784, -2600, 2097088]
    >>> activate([512, -512], 1).tolist(), activate([512, -512], 0).tolist()  # ReLU and none of 1, -1
    ([16384, 0], [512, -512])
    """
    u = check_range(integers(u, "u"), *INT16, "Inputs of an activation")
    if BY_CODE[code].passes:
        return u
    u = u << act_shift
    return (np.maximum(u, 0) << _GAP) - delta(np.abs(u), code)
