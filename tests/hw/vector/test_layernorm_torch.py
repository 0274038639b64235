# SPDX-License-Identifier: Apache-2.0
"""Layer norm unit against ``torch.nn.functional.layer_norm`` on real rows, within a bound that follows from the
formats.

With z = (x - mean) / sigma, sigma = sqrt(var + eps), the result is w z + b:

* D x - S1 is exact; its product with the reciprocal root, off by RSQRT_ERROR, is rounded to the normalized step n:
  E = n / 2 + |z| RSQRT_ERROR.
* w z + b is rounded to the result's step s: |w| E + s / 2. A block of bytes is rounded once more, to 2**e s: the
  smallest e with which the block's largest result, as the bound allows it, fits.

On real rows x is off by h = 2**-10, half a step. That moves x - mean by 2 h at most and sigma by h (both are norms of
x), so z by Z = (2 h + |z| h) / (sigma - h). Gain and offset are off by half of their steps, eps by half of a step of V.
"""

import random
from dataclasses import dataclass, replace

import cocotb
import numpy as np
import pytest
import torch

from golden.ops.layernorm import eps_code, layernorm, normalise
from golden.spec.machine import NANO
from golden.spec.model import BLOCK
from golden.spec.tables import BLOCK_SHIFT_MAX, NORMALIZED_FRAC, RESIDUAL_FRAC, RSQRT_RADICAND_BITS
from hw.vector.layernorm.layernorm import LayerNorm
from sim.accuracy import Accuracy, nearest
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support.norm_case import Case
from tests.hw.vector.test_layernorm import Bench

RSQRT_ERROR = 1 / ((1 << RSQRT_RADICAND_BITS // 2 - 1) - 1)
"""Relative error of a reciprocal root: the root is cut, which makes it larger by less than 2**-16, and so is the
quotient, which makes it smaller by as much."""
EPS = 1e-6
X_STEP = 2.0 ** -RESIDUAL_FRAC
SHIFT = 13


@pytest.mark.rtl
def test_layernorm_is_that_of_torch():
    run_bench(LayerNorm(replace(NANO, serialization=1)), module=__name__, name="norm-1",
              env={"NORM_SERIALIZATION": "1"})


@dataclass
class Drawn:
    """Real rows ``x`` [N, D], weight ``w`` and bias ``b`` [D], and the ``case`` that they are quantized to; ``step`` of
    the result."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray
    case: Case
    step: float

    @property
    def normalized_step(self) -> float:
        return 2.0 ** (self.case.normalized_shift - NORMALIZED_FRAC)

    @property
    def gain_step(self) -> float:
        return self.step / self.normalized_step * 2.0 ** -SHIFT


def draw(rng, blocks: int, wide: bool, normalized_shift: int) -> Drawn:
    """Rows as of a residual stream: spread and mean of several sizes, channels that stand out, nearly flat rows."""
    case = Case(rng, 8, blocks, wide=wide, normalized=True)
    gen = np.random.default_rng(rng.getrandbits(64))
    dim = BLOCK * blocks
    spread = np.array([0.005, 0.01, 0.1, 0.5, 1, 1, 3, 8])[:, None]
    x = spread * gen.normal(0, 1, (8, dim)) + gen.normal(0, 0.5, (8, 1))
    x[4, :: BLOCK] *= 4
    w, b = gen.normal(1, 0.3, dim), gen.normal(0, 0.5, dim)
    drawn = Drawn(x, w, b, case, 2.0 ** (normalized_shift - NORMALIZED_FRAC) if wide else 2.0 ** -6)
    case.x = np.clip(np.rint(x / X_STEP), -32768, 32767).astype(np.int16)
    case.shift, case.normalized_shift, case.eps = SHIFT, normalized_shift, eps_code(EPS, dim)
    case.gain = np.rint(w / drawn.gain_step).astype(np.int64)
    case.offset = np.rint(b / (drawn.step * 2.0 ** -SHIFT)).astype(np.int64)
    assert np.abs(case.gain).max() < 1 << 15 and np.abs(x).max() < 60
    return drawn


def torch_norm(x, eps: float, w=None, b=None) -> np.ndarray:
    weight, bias = (None if a is None else torch.from_numpy(a) for a in (w, b))
    return torch.nn.functional.layer_norm(torch.from_numpy(x), x.shape[-1:], weight, bias, eps).numpy()


def parts_of(drawn: Drawn, real: bool) -> tuple[tuple, tuple]:
    """((expected, bound) of the normalized rows, the same of the results); the sums in the head of this file."""
    case, dim = drawn.case, drawn.x.shape[1]
    eps = EPS if real else case.eps / (dim / X_STEP) ** 2
    x = drawn.x if real else case.x * X_STEP
    w = drawn.w if real else case.gain * drawn.gain_step
    b = drawn.b if real else case.offset * (drawn.step * 2.0 ** -SHIFT)
    z = torch_norm(x, eps)
    moved = 0.0
    if real:
        sigma, h = np.sqrt(x.var(-1, keepdims=True) + eps), X_STEP / 2
        moved = (2 * h + np.abs(z) * h) / (sigma - h) + np.abs(z) * 0.25 / (sigma * dim / X_STEP) ** 2
    of_z = moved + (np.abs(z) + moved) * RSQRT_ERROR + drawn.normalized_step / 2
    y, of_y = torch_norm(x, eps, w, b), np.abs(w) * of_z + drawn.step / 2
    if real:
        of_y = of_y + drawn.gain_step / 2 * (np.abs(z) + of_z) + drawn.step * 2.0 ** -SHIFT / 2
    if not case.wide:
        largest = ((np.abs(y) + of_y) / drawn.step).reshape(*y.shape[:1], -1, BLOCK).max(-1)
        exponent = sum((largest > 127.5 * 2 ** e).astype(int) for e in range(BLOCK_SHIFT_MAX)).repeat(BLOCK, 1)
        of_y = of_y + np.where(exponent > 0, 2.0 ** exponent * drawn.step / 2, 0)
    return (z, of_z), (y, of_y)


def compare(all_drawn: list[Drawn], results: list[tuple[np.ndarray, np.ndarray]]) -> list[Accuracy]:
    """``results``: normalized rows and results of each, integers, against torch."""
    found = []
    for real in (False, True):
        compared = {"normalized rows": [], "16 bits": [], "8 bits": []}
        for drawn, (normalized, values) in zip(all_drawn, results, strict=True):
            (z, of_z), (y, of_y) = parts_of(drawn, real)
            compared["normalized rows"].append((normalized * drawn.normalized_step, z, of_z))
            compared["16 bits" if drawn.case.wide else "8 bits"].append((values * drawn.step, y, of_y))
        for kind, parts in ((kind, parts) for kind, parts in compared.items() if parts):
            joined = (np.concatenate([a.ravel() for a in part]) for part in zip(*parts, strict=True))
            name = f"layer_norm, {kind}, {'real' if real else 'dequantized'} inputs"
            found.append(nearest("layer norm", name, *joined))
    return found


def decode(case: Case, writes: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Normalized rows and results, integers [N, D], out of what the RTL wrote."""
    halves = {(w["row"], n): ((w["data"] >> 256 * n & (1 << 256) - 1).to_bytes(32, "little"), w["exp"][n])
              for w in writes for n in range(2) if w["mask"] >> n & 1}

    def rows(row, stride, plane=None):
        found = np.zeros((case.tokens, case.blocks, BLOCK), np.int64)
        for t, b in np.ndindex(*found.shape[:2]):
            data, exp = halves[row + t * stride + b // 2, b % 2]
            found[t, b] = np.frombuffer(data, np.int8).astype(np.int64) << exp
            if plane is not None:
                low = np.frombuffer(halves[row + t * stride + plane + b // 2, b % 2][0], np.uint8)
                found[t, b] = found[t, b] * 256 + low
        return found.reshape(case.tokens, -1)

    return (rows(case.normalized_row, case.normalized_stride, case.normalized_plane),
            rows(case.dst_row, case.dst_stride, case.dst_plane if case.wide else None))


def draws(rng) -> list[Drawn]:
    return [draw(rng, blocks, wide, shift) for wide in (False, True) for blocks in (2, 6, 12) for shift in (0, 2)]


@cocotb.test()
async def is_that_of_torch(dut):
    await start(dut)
    bench, all_drawn, results = Bench(dut), draws(seeded("torch")), []
    for drawn in all_drawn:
        before = len(bench.writes.values)
        await bench.run(drawn.case)
        results.append(decode(drawn.case, bench.writes.values[before:]))
    for accuracy in compare(all_drawn, results):
        accuracy.keep()


def reference(drawn: Drawn, normalized=None, cut=0) -> tuple[np.ndarray, np.ndarray]:
    """What RTL gives, by the reference model; with a planted defect other ``normalized`` rows, or results that are cut,
    not rounded."""
    case = drawn.case
    if normalized is None and not cut:
        operand, normalized = layernorm(case.x, case.record())
        return normalized.astype(np.int64), operand.values().astype(np.int64)
    if normalized is None:
        normalized = normalise(case.x, case.eps, case.normalized_shift).astype(np.int64)
    return normalized, normalized * case.gain + case.offset + (0 if cut else 1 << SHIFT - 1) >> SHIFT


def scaled(drawn: Drawn, factor) -> tuple[np.ndarray, np.ndarray]:
    return reference(drawn, np.rint(normalise(drawn.case.x, drawn.case.eps, drawn.case.normalized_shift) * factor)
                     .astype(np.int64))


def without_eps(drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
    return reference(drawn, normalise(drawn.case.x, 0, drawn.case.normalized_shift).astype(np.int64))


DEFECTS = {
    "the variance of D - 1": lambda d: scaled(d, np.sqrt(1 - 1 / d.x.shape[1])),
    "the square root of 2 for an odd exponent": lambda d: scaled(d, np.sqrt(2)),
    "no epsilon": without_eps,
    "results are cut, not rounded": lambda d: reference(d, cut=1),
}


def test_the_reference_model_is_within_the_bound():
    all_drawn = draws(random.Random(1))
    for found in compare(all_drawn, [reference(drawn) for drawn in all_drawn]):
        assert 0.25 < found.ratio <= 1, found


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_beyond_the_bound(defect):
    all_drawn = [drawn for drawn in draws(random.Random(1)) if drawn.case.wide]
    normalized, wide = compare(all_drawn, [DEFECTS[defect](drawn) for drawn in all_drawn])[:2]
    assert wide.ratio > 1 and (normalized.ratio > 1 or "cut" in defect), (normalized, wide)
