# SPDX-License-Identifier: Apache-2.0
"""GELU as ReLU minus a small symmetric correction (Edge-MoE, section IV-C)."""

import numpy as np

from golden.ops.arith import INT16, check_range, integers
from golden.spec.tables import GELU_DELTA, GELU_IN_FRAC, GELU_LIMIT, GELU_OUT_FRAC, GELU_STEP_LOG2

_T = np.array([*GELU_DELTA, 0], np.int64)  # one more, so that the last point has a right neighbour
_STEP = GELU_IN_FRAC - GELU_STEP_LOG2  # log2 of input codes from table point to table point
_GAP = GELU_OUT_FRAC - GELU_IN_FRAC


def gelu_delta(magnitude) -> np.ndarray:
    """``relu(u) - gelu(u)`` for ``|u|``, 14 fraction bits, linearly interpolated between table points."""
    a = integers(magnitude, "magnitude")
    i, f = np.minimum(a >> _STEP, len(_T) - 2), a & ((1 << _STEP) - 1)
    delta = ((_T[i] << _STEP) + (_T[i + 1] - _T[i]) * f + (1 << _STEP >> 1)) >> _STEP
    return np.where(a >= GELU_LIMIT << GELU_IN_FRAC, 0, delta)


def gelu(u, act_shift: int = 0) -> np.ndarray:
    """int16 codes with 9 - s fraction bits, s = ``act_shift``, -> int64 with 14: ``(max(u, 0) << 5 + s) -
    delta(|u| << s)``.

    >>> gelu([512, -512, 0, 32767, -32768]).tolist()  # 1, -1, 0 and both ends: 0.8413, -0.1587, 0, u, 0
    [13784, -2600, 0, 1048544, 0]
    >>> gelu([256, -256, 32767], 1).tolist()  # 1, -1, and nearly 128
    [13784, -2600, 2097088]
    """
    u = check_range(integers(u, "u"), *INT16, "GELU inputs") << act_shift
    return (np.maximum(u, 0) << _GAP) - gelu_delta(np.abs(u))
