# SPDX-License-Identifier: Apache-2.0
"""Every activation over every input code with every act_shift against PyTorch."""

import numpy as np
import pytest
import torch

from golden.model.ffn import ACTIVATIONS as TORCH
from golden.ops.activation import activate, delta
from golden.ops.arith import DomainError
from golden.spec.activations import ACT_IN_FRAC, ACT_OUT_FRAC, ACT_SHIFT_MAX, ACTIVATIONS, CHORDS, CURVED

CODES = np.arange(-32768, 32768)
SHIFTS = range(ACT_SHIFT_MAX + 1)
MEASURED = {"none": 0.0, "relu": 0.0, "gelu": 1.78, "gelu_tanh": 1.78, "silu": 3.94}
"""Largest error in steps of 2**-14 over all codes and act_shifts: 1.09e-4 of GELU, 2.41e-4 of SiLU."""
every = pytest.mark.parametrize("name", ACTIVATIONS)
curved = pytest.mark.parametrize("kind", CURVED, ids=lambda kind: kind.name)


def exact(name: str, act_shift: int = 0) -> np.ndarray:
    x = torch.from_numpy(CODES / 2 ** (ACT_IN_FRAC - act_shift))
    return (TORCH[name](x) * 2.0 ** ACTIVATIONS[name].out_frac(act_shift)).numpy()


def interpolation(name: str) -> float:
    """h^2 / 8 * max |activation''|, in output steps."""
    kind = ACTIVATIONS[name]
    x = torch.linspace(0, 16, 1 << 12, dtype=torch.float64, requires_grad=True)
    first, = torch.autograd.grad(TORCH[name](x).sum(), x, create_graph=True)
    second, = torch.autograd.grad(first.sum(), x)
    return 4.0 ** kind.step_log2 / 8 * float(second.abs().max()) * 2 ** ACT_OUT_FRAC


@every
def test_every_code_is_within_half_a_step_and_the_interpolation_error(name):
    error = max(np.abs(activate(CODES, ACTIVATIONS[name].code, shift) - exact(name, shift)).max() for shift in SHIFTS)
    print(f"{name}: {error:.3f} steps, {error / 2 ** ACT_OUT_FRAC:.3g}")
    assert error <= (0.5 + interpolation(name) if ACTIVATIONS[name].delta else 0)
    if name in MEASURED:
        assert error == pytest.approx(MEASURED[name], abs=0.01)


@every
def test_the_spec_and_pytorch_mean_the_same_function(name):
    x = np.linspace(-1024, 1024, 4097)
    assert np.allclose(TORCH[name](torch.from_numpy(x)), [ACTIVATIONS[name].exact(v) for v in x], rtol=0, atol=1e-12)


def test_every_activation_has_its_pytorch_function():
    assert list(TORCH) == list(ACTIVATIONS)


@every
@pytest.mark.parametrize("act_shift", SHIFTS)
def test_a_shifted_code_is_the_code_that_it_stands_for(name, act_shift):
    code = ACTIVATIONS[name].code
    if ACTIVATIONS[name].passes:
        assert (activate(CODES, code, act_shift) == CODES).all()
        return
    small = CODES[(CODES >= -32768 >> act_shift) & (CODES <= 32767 >> act_shift)]
    assert (activate(small, code, act_shift) == activate(small << act_shift, code)).all()
    largest = activate([32767], code, act_shift)[0]
    assert largest == 32767 << act_shift + ACT_OUT_FRAC - ACT_IN_FRAC and largest < 1 << 24


@curved
def test_table_points_are_within_half_a_step_and_the_quarter_they_were_moved(kind):
    points = CODES % (1 << ACT_IN_FRAC + kind.step_log2) == 0
    error = np.abs(activate(CODES, kind.code) - exact(kind.name))[points].max()
    assert error <= 0.5 + interpolation(kind.name) / 4
    assert activate(0, kind.code) == 0


@curved
def test_the_correction_is_symmetric_and_ends(kind):
    positive, end = CODES[CODES > 0], CHORDS << ACT_IN_FRAC + kind.step_log2
    assert (activate(positive, kind.code) - (positive << 5) == activate(-positive, kind.code)).all()
    outside = np.abs(CODES) >= end
    assert (activate(CODES[outside], kind.code) == np.maximum(CODES[outside], 0) << 5).all()
    assert delta(end, kind.code) == 0


@curved
def test_interpolation_equals_a_scalar_evaluation(kind):
    step, table = ACT_IN_FRAC + kind.step_log2, kind.delta
    for u in [*range(-9000, 9000, 7), 32767, -32768]:
        i, f = abs(u) >> step, abs(u) & (1 << step) - 1
        less = 0 if i >= CHORDS else ((table[i] << step) + (table[i + 1] - table[i]) * f + (1 << step >> 1)) >> step
        assert activate([u], kind.code)[0] == (max(u, 0) << 5) - less


def test_codes_beyond_16_bits_are_refused():
    with pytest.raises(DomainError, match="Inputs of an activation"):
        activate([32768], 2)
