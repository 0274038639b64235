# SPDX-License-Identifier: Apache-2.0
"""Activation unit against torch's ``gelu``, ``gelu(approximate="tanh")`` and ``silu`` on real inputs, within a bound
that follows from the table.

The unit computes relu(x) - delta(|x|) in steps of 2**-14; relu is exact, delta a chord of length h between rounded
points.

* A chord deviates by h**2 / 8 max|f''| at most. All three are x gate(x) with gate(-x) = 1 - gate(x), so f'' is
  largest at 0, where it is 2 gate'(0). That points are moved towards the curve only lessens it.
* Points are rounded, which moves the chord by half a step, and so is the interpolated value. Beyond the table delta is
  0, less than half a step away.

The quantization of real inputs to 9 - act_shift fraction bits adds half its step times max|f'|.
"""

import math

import cocotb
import numpy as np
import pytest
import torch
from torch.nn import functional

from golden.ops.activation import activate
from golden.spec.activations import ACT_IN_FRAC, ACT_OUT_FRAC, ACT_SHIFT_MAX, ACTIVATIONS
from hw.vector.activation import Activation
from sim.accuracy import Accuracy, nearest
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support.pipeline import through

LANES = 16
FUNCTIONS = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
}
CURVATURE = {"gelu": math.sqrt(2 / math.pi), "gelu_tanh": math.sqrt(2 / math.pi), "silu": 0.5}
"""max|f''|, at 0: Phi'(0) = 1 / sqrt(2 pi), twice; sigmoid'(0) = 1/4, twice."""
SLOPE = {"gelu": 1.1290, "gelu_tanh": 1.1290, "silu": 1.0999}
"""max|f'|, rounded up: where f'' is 0, near sqrt(2) and 2.4."""


@pytest.mark.rtl
def test_activation_is_that_of_torch():
    run_bench(Activation(LANES), module=__name__, name=f"activation-{LANES}")


def draw(gen: np.random.Generator, act_shift: int, count: int) -> np.ndarray:
    """Real inputs: most where the function bends, the others to the ends of the input's range."""
    end = 2.0 ** (15 - ACT_IN_FRAC + act_shift) - 1
    bent = gen.normal(0, 2.5, count - count // 8)
    return np.clip(np.concatenate([bent, gen.uniform(-end, end, count // 8)]), -end, end)


def codes_of(x: np.ndarray, act_shift: int) -> np.ndarray:
    return np.rint(x * 2.0 ** (ACT_IN_FRAC - act_shift)).astype(np.int64)


def bound(name: str, act_shift: int | None = None) -> float:
    """Of a result; with ``act_shift`` that of inputs that were quantized. The sum in the head of this file."""
    step = 2.0 ** -ACT_OUT_FRAC
    own = (2.0 ** ACTIVATIONS[name].step_log2) ** 2 / 8 * CURVATURE[name] + step
    return own if act_shift is None else own + SLOPE[name] * 2.0 ** (act_shift - ACT_IN_FRAC) / 2


def compare(name: str, act_shift: int, x: np.ndarray, got: np.ndarray, against: str | None = None) -> list[Accuracy]:
    """Results ``got``, real, against torch (of another function's name, for the planted defects)."""
    torch_of, dequantized = FUNCTIONS[against or name], codes_of(x, act_shift) * 2.0 ** (act_shift - ACT_IN_FRAC)
    return [nearest("activation", f"{name}, {kind} inputs", got, torch_of(torch.from_numpy(inputs)).numpy(), limit)
            for kind, inputs, limit in (("dequantized", dequantized, bound(name)),
                                        (f"real (act_shift {act_shift})", x, bound(name, act_shift)))]


@cocotb.test()
async def is_that_of_torch(dut):
    """``act_shift`` 0 and the largest: inputs to +-64, and to +-1024."""
    await start(dut)
    gen = np.random.default_rng(seeded("torch").getrandbits(32))
    for name in FUNCTIONS:
        for act_shift in (0, ACT_SHIFT_MAX):
            x = draw(gen, act_shift, 16384)
            codes = codes_of(x, act_shift).reshape(-1, LANES)
            inputs = [{"u": row.tolist(), "activation": ACTIVATIONS[name].code, "act_shift": act_shift}
                      for row in codes]
            got = np.array(await through(dut, Activation(LANES), Activation.LATENCY, inputs, "o")).ravel()
            for accuracy in compare(name, act_shift, x, got * 2.0 ** -ACT_OUT_FRAC):
                accuracy.keep()


def reference(name: str, u: np.ndarray, act_shift: int = 0) -> np.ndarray:
    return activate(u, ACTIVATIONS[name].code, act_shift) * 2.0 ** -ACT_OUT_FRAC


# Of a negative input the result is -delta.
X = draw(np.random.default_rng(1), 0, 16384)
U = codes_of(X, 0)
DEFECTS = {
    "the tanh form for the erf form": reference("gelu_tanh", U),
    "SiLU for GELU": reference("silu", U),
    "delta of the next code": np.maximum(U, 0) * 2.0 ** -ACT_IN_FRAC + reference("gelu", -abs(U) - 1),
    "an input shifted once too far": reference("gelu", U >> 1),
    "half the delta": (reference("gelu", U) + reference("relu", U)) / 2,
    "a chord without its interpolation": np.maximum(U, 0) * 2.0 ** -ACT_IN_FRAC + reference("gelu", -abs(U) >> 4 << 4),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("act_shift", range(ACT_SHIFT_MAX + 1))
def test_the_reference_model_is_within_the_bound(name, act_shift):
    x = draw(np.random.default_rng(1), act_shift, 16384)
    for found in compare(name, act_shift, x, reference(name, codes_of(x, act_shift), act_shift)):
        assert 0.25 < found.ratio <= 1, found


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_beyond_the_bound(defect):
    dequantized, _ = compare("gelu", 0, X, DEFECTS[defect])
    assert dequantized.ratio > 1, dequantized


def test_the_bound_has_the_largest_curvature_and_slope():
    """By differences of torch's functions on a fine grid."""
    x = torch.linspace(-9, 9, 180_001, dtype=torch.float64)
    h = float(x[1] - x[0])
    for name, function in FUNCTIONS.items():
        y = function(x)
        assert float((y[1:] - y[:-1]).abs().max()) / h <= SLOPE[name] + 1e-9
        assert float((y[2:] - 2 * y[1:-1] + y[:-2]).abs().max()) / h ** 2 <= CURVATURE[name] * (1 + 1e-5)
