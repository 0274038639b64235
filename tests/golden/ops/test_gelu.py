# SPDX-License-Identifier: Apache-2.0
"""GELU over every input code with every act_shift against the exact function."""

import numpy as np
import pytest
import torch

from golden.ops.arith import DomainError
from golden.ops.gelu import gelu, gelu_delta
from golden.spec.tables import ACT_SHIFT_MAX, GELU_IN_FRAC, GELU_LIMIT, GELU_OUT_FRAC, GELU_STEP_LOG2

CODES = np.arange(-32768, 32768)
CURVATURE = 2 / np.sqrt(2 * np.pi)
"""max |delta''| = max |phi(x) (2 - x^2)|, at 0."""
INTERPOLATION = 4.0 ** -GELU_STEP_LOG2 / 8 * CURVATURE * 2 ** GELU_OUT_FRAC
"""h^2 / 8 * max |delta''|, in output steps: 1.6 (9.74e-5)."""


SHIFTS = range(ACT_SHIFT_MAX + 1)


def exact(act_shift: int = 0) -> np.ndarray:
    x = torch.from_numpy(CODES / 2 ** (GELU_IN_FRAC - act_shift))
    return (torch.nn.functional.gelu(x) * 2 ** GELU_OUT_FRAC).numpy()


@pytest.mark.parametrize("act_shift", SHIFTS)
def test_every_code_is_within_half_a_step_and_the_interpolation_error(act_shift):
    error = np.abs(gelu(CODES, act_shift) - exact(act_shift)).max()
    assert error <= 0.5 + INTERPOLATION
    assert error / 2 ** GELU_OUT_FRAC < 1.09e-4


@pytest.mark.parametrize("act_shift", SHIFTS)
def test_a_shifted_code_is_the_code_that_it_stands_for(act_shift):
    small = CODES[(CODES >= -32768 >> act_shift) & (CODES <= 32767 >> act_shift)]
    assert (gelu(small, act_shift) == gelu(small << act_shift)).all()
    largest = gelu([32767], act_shift)[0]
    assert largest == 32767 << act_shift + GELU_OUT_FRAC - GELU_IN_FRAC and largest < 1 << 24


def test_table_points_are_within_half_a_step_and_the_quarter_they_were_moved():
    points = CODES % (1 << (GELU_IN_FRAC - GELU_STEP_LOG2)) == 0
    assert np.abs(gelu(CODES) - exact())[points].max() <= 0.5 + INTERPOLATION / 4
    assert gelu(0) == 0


def test_the_correction_is_symmetric_and_ends():
    assert (gelu(CODES[CODES > 0]) - (CODES[CODES > 0] << 5) == gelu(-CODES[CODES > 0])).all()
    outside = np.abs(CODES) >= GELU_LIMIT << GELU_IN_FRAC
    assert (gelu(CODES[outside]) == np.maximum(CODES[outside], 0) << 5).all()
    assert gelu_delta(GELU_LIMIT << GELU_IN_FRAC) == 0


def test_interpolation_equals_a_scalar_evaluation():
    from golden.spec.tables import GELU_DELTA as table
    for u in [*range(-2600, 2600, 7), 32767, -32768]:
        i, f = abs(u) >> 4, abs(u) & 15
        delta = 0 if abs(u) >= 2560 else (table[i] * 16 + (table[i + 1] - table[i]) * f + 8) >> 4
        assert gelu([u])[0] == (max(u, 0) << 5) - delta


def test_codes_beyond_16_bits_are_refused():
    with pytest.raises(DomainError, match="GELU inputs"):
        gelu([32768])
