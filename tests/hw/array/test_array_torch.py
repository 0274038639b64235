# SPDX-License-Identifier: Apache-2.0
"""Matrix array against ``torch.nn.functional.linear`` on real inputs, within a bound that follows from the formats.

* On dequantized inputs, counted in steps, the array is exact: every sum fits float64, and its accumulators equal
  torch's results; the bound is 0.
* On real inputs each x is off by at most a, half its step, and each w by c, half of its own: a product by (|w| + c) a
  + |x| c. Their sum S is what a result is off by at most; but as good as never do the errors of many products all point
  one way. An error of rounding is uniform in +-t (a step is small against the spread of the values) and so sub-Gaussian
  with variance t**2 / 3: a sum of independent ones is beyond sqrt(2 / 3 ln(2 / q) sum(t**2)) with a chance below q,
  here ``CHANCE``. The bound is the smaller of S and that.

Steps of x: 16 bits one for all, blocks of 32 bytes 2**e times one, e the smallest that the block's largest x needs.
Weights: one step for each channel, its largest weight over 127.
"""

import math
from dataclasses import dataclass

import cocotb
import numpy as np
import pytest
import torch

from golden.ops.matmul import matmul
from golden.ops.operand import Operand
from golden.spec.machine import TN
from golden.spec.model import BLOCK
from golden.spec.tables import BLOCK_PEAK, BLOCK_SHIFT_MAX, PIXEL_PEAK, WEIGHT_MAX, WIDE_PEAK
from hw.array.array import MatrixArray
from sim.accuracy import Accuracy, nearest
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.array.test_array import CFG, CONFIGS, Bench, Tile, tile_of

CHANCE = 2.0 ** -40
PEAKS = {"pixels": PIXEL_PEAK, "8 bits": BLOCK_PEAK - 8, "16 bits": WIDE_PEAK - 1}
"""Largest code of each operand kind that real inputs are scaled to."""


@pytest.mark.rtl
def test_array_is_that_of_torch():
    run_bench(MatrixArray(CONFIGS["nano"]), module=__name__, name="array-nano", env={"ARRAY_CFG": "nano"})


@dataclass
class Drawn:
    """Real inputs ``x`` [tm, K] and weights ``w`` [32, K], quantized: ``operand`` in steps of ``x_step``, ``weight`` in
    steps of ``w_step`` [32, 1]."""

    kind: str
    x: np.ndarray
    w: np.ndarray

    def __post_init__(self):
        peak = PEAKS[self.kind]
        self.x_step = np.abs(self.x).max() / peak
        self.w_step = np.abs(self.w).max(1, keepdims=True) / WEIGHT_MAX
        codes = np.rint(self.x / self.x_step).astype(np.int64)
        self.weight = np.rint(self.w / self.w_step).astype(np.int8)
        if self.kind == "pixels":
            self.operand = Operand.pixels(codes.astype(np.uint8))
        else:
            self.operand = Operand.in_16_bits(codes) if self.kind == "16 bits" else Operand.in_blocks(codes)

    def tile(self) -> Tile:
        return tile_of(self.operand, self.weight, matmul(self.operand, self.weight))

    def input_error(self) -> np.ndarray:
        """At most half a step of each x, and, where codes are rounded once more to 2**e steps, half of these."""
        if self.kind != "8 bits":
            return np.full(self.x.shape, self.x_step / 2)
        largest = (np.abs(self.x) / self.x_step + 0.5).reshape(len(self.x), -1, BLOCK).max(-1)
        exponent = sum((largest > 127.5 * 2 ** e).astype(int) for e in range(BLOCK_SHIFT_MAX)).repeat(BLOCK, 1)
        return self.x_step / 2 * np.where(exponent > 0, 1 + 2.0 ** exponent, 1)

    def bound(self) -> np.ndarray:
        """Of each result [tm, 32] on real inputs; the sum in the head of this file."""
        a, c = self.input_error()[:, None], self.w_step / 2
        of_x, of_w = (np.abs(self.w) + c) * a, np.abs(self.x)[:, None] * c
        likely = np.sqrt(2 / 3 * math.log(2 / CHANCE) * (of_x ** 2 + of_w ** 2).sum(-1))
        return np.minimum((of_x + of_w).sum(-1), likely)


def draw(gen: np.random.Generator, kind: str, inputs: int) -> Drawn:
    """Pixels in 0..1, or normalised tokens with a channel that stands out; weights of a trained layer's spread."""
    if kind == "pixels":
        x = gen.uniform(0, 1, (CFG.tm, inputs))
    else:
        x = gen.normal(0, 1, (CFG.tm, inputs))
        x[:, 0] *= 3
    return Drawn(kind, x, gen.normal(0, 1, (TN, inputs)) / math.sqrt(inputs))


def draws(seed: int) -> list[Drawn]:
    gen = np.random.default_rng(seed)
    return [draw(gen, kind, inputs) for inputs in (BLOCK, 64, 192) for kind in PEAKS for _ in range(12)]


def linear(x, w) -> np.ndarray:
    return torch.nn.functional.linear(*(torch.from_numpy(np.asarray(a, np.float64)) for a in (x, w))).numpy()


def compare(all_drawn: list[Drawn], results: list[np.ndarray]) -> list[Accuracy]:
    """``results``: accumulators [tm, 32] of each, against torch on dequantized and on real inputs."""
    found = []
    for kind in PEAKS:
        exact, real = [], []
        for drawn, acc in zip(all_drawn, results, strict=True):
            if drawn.kind == kind:
                exact.append((acc, linear(drawn.operand.values(), drawn.weight), np.zeros(acc.shape)))
                real.append((acc * drawn.x_step * drawn.w_step.T, linear(drawn.x, drawn.w), drawn.bound()))
        for name, parts in (("dequantized", exact), ("real", real)):
            joined = (np.concatenate([a.ravel() for a in part]) for part in zip(*parts, strict=True))
            found.append(nearest("array", f"linear, {kind}, {name} inputs", *joined))
    return found


@cocotb.test()
async def is_that_of_torch(dut):
    await start(dut)
    bench, all_drawn = Bench(dut), draws(seeded("torch").getrandbits(32))
    await bench.send([drawn.tile() for drawn in all_drawn])
    await bench.compare([drawn.tile() for drawn in all_drawn])
    beats = np.array([beat["value"] for beat in bench.sink.values]).reshape(len(all_drawn), CFG.tm, TN)
    assert [beat["lane"] for beat in bench.sink.values] == list(range(CFG.tm)) * len(all_drawn)
    for accuracy in compare(all_drawn, list(beats)):
        accuracy.keep()


def reference(drawn: Drawn, operand: Operand | None = None, weight: np.ndarray | None = None) -> np.ndarray:
    """What RTL gives, by the reference model; with a planted defect another ``operand`` or ``weight``."""
    return matmul(drawn.operand if operand is None else operand, drawn.weight if weight is None else weight)


def first_exponent(drawn: Drawn) -> Operand:
    """The exponent of a row's first block serves all its blocks."""
    if drawn.kind != "8 bits":
        return drawn.operand
    return Operand(drawn.operand.bytes, drawn.operand.exp[:, :1].repeat(drawn.operand.exp.shape[1], 1))


def signed_low_bytes(drawn: Drawn) -> Operand:
    """The low plane of 16-bit operands, and pixels, taken for signed."""
    if drawn.kind == "8 bits":
        return drawn.operand
    if drawn.kind == "pixels":
        return Operand(drawn.operand.bytes.view(np.int8), drawn.operand.exp)
    wrong = drawn.operand.bytes.astype(np.int64) - 256 * (drawn.operand.bytes & 128 > 0)
    return Operand.in_16_bits(wrong)


DEFECTS = {
    "the first block's exponent for all": (lambda d: reference(d, first_exponent(d)), ["8 bits"]),
    "low bytes are signed": (lambda d: reference(d, signed_low_bytes(d)), ["pixels", "16 bits"]),
    "planes joined by 7 places": (
        lambda d: reference(d) if not d.operand.wide else reference(d, Operand.in_16_bits(
            (d.operand.bytes >> 8).astype(np.int64) * 128 + (d.operand.bytes & 255))), ["16 bits"]),
    "the last input is left out": (
        lambda d: reference(d, weight=np.pad(d.weight[:, :-1], ((0, 0), (0, 1)))), list(PEAKS)),
    "accumulators of 16 bits": (lambda d: (reference(d) + 32768 & 65535) - 32768, list(PEAKS)),
}


def test_the_reference_model_is_within_the_bound():
    for seed in (1, 2, 3):
        all_drawn = draws(seed)
        for found in compare(all_drawn, [reference(drawn) for drawn in all_drawn]):
            assert found.ratio <= 1 and (found.ratio >= 0.25 or not found.bound), found


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_beyond_the_bound(defect):
    make, kinds = DEFECTS[defect]
    all_drawn = draws(1)
    for found in compare(all_drawn, [make(drawn) for drawn in all_drawn]):
        assert found.ratio > 1 or not any(kind in found.function for kind in kinds), found
