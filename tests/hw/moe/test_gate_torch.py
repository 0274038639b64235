# SPDX-License-Identifier: Apache-2.0
"""Gate against ``torch.topk`` and ``torch.nn.functional.softmax`` on real logits, within bounds that follow from the
formats.

* Choices. Logits are compared as accumulators, exactly: where torch's k-th and next logit, dequantized, differ at all,
  the same experts are chosen. Real logits are off by half of ``STEP`` each, so there where they differ by more than
  ``STEP``.
* Weights of the experts chosen, over these (``renormalise``) or over all: the sum of errors of scores, integers (a
  power is cut by less than 1, n of them by less than n) and reciprocal (``tests.hw.support.power_bound``), and of the
  rounding to 2**-16: half a step, or one where a weight of 1 becomes the largest code.

On real logits the rounding of accumulator and multiplier comes to that of the scores.
"""

import math
import random
from dataclasses import dataclass

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import FallingEdge

from golden.spec.machine import NANO
from golden.spec.tables import GATE_RADIX_LOG2, GATE_WEIGHT_FRAC, LOG2_FRAC
from hw.moe.gate import Gate
from sim.accuracy import Accuracy, nearest
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.moe.test_gate import Bench, Case
from tests.hw.support import power_bound

STEP = 1e-6
"""Of a logit as an accumulator."""
_SCALE = STEP * (1 << LOG2_FRAC) / math.log(2)
SHIFT1 = 15 - math.floor(math.log2(_SCALE))
MULTIPLIER = round(_SCALE * 2 ** SHIFT1)
SHAPES = ((16, 2), (16, 4), (8, 2), (64, 3), (5, 1))
WEIGHT_STEP = 2.0 ** -GATE_WEIGHT_FRAC


@pytest.mark.rtl
def test_gate_is_that_of_torch():
    run_bench(Gate(NANO), module=__name__, name="gate-nano", env={"GATE_CFG": "nano"})


@dataclass
class Drawn:
    """Real logits [N, E] and the ``case`` that they are quantized to."""

    logits: np.ndarray
    case: Case

    def dequantized(self) -> np.ndarray:
        codes = (self.case.high << GATE_RADIX_LOG2) + self.case.low
        return codes * (MULTIPLIER * 2.0 ** -(SHIFT1 + LOG2_FRAC)) * math.log(2)


def draw(rng, experts: int, top_k: int, renormalise: bool) -> Drawn:
    """Logits of gates that are sure and of some that are not; in every second token the last chosen and the first left
    out are less than three steps apart."""
    case = Case(rng, 30, experts, top_k, renormalise=renormalise)
    gen = np.random.default_rng(rng.getrandbits(64))
    z = gen.choice([0.3, 1.5, 4], (30, 1)) * gen.normal(0, 1, (30, experts))
    order = np.argsort(-z, -1)
    for token in range(0, 30, 2):
        z[token, order[token, top_k]] = z[token, order[token, top_k - 1]] - gen.uniform(0, 3) * STEP
    codes = np.rint(z / STEP).astype(np.int64)
    low = gen.integers(-10 ** 6, 10 ** 6, z.shape)
    case.high = codes - low >> GATE_RADIX_LOG2
    case.low = codes - (case.high << GATE_RADIX_LOG2)
    case.multiplier, case.shift1 = MULTIPLIER, SHIFT1
    return Drawn(z, case)


def draws(rng) -> list[Drawn]:
    return [draw(rng, experts, top_k, renormalise) for experts, top_k in SHAPES for renormalise in (False, True)
            for _ in range(3)]


def weight_bound(z: np.ndarray, p: np.ndarray, input_error) -> np.ndarray:
    """Of the weights ``p`` = softmax(z); the sum in the head of this file."""
    scores = power_bound.of_scores(p, input_error)
    integers = power_bound.of_truncation(p + scores, power_bound.least_total(z, input_error), all_=z.shape[-1])
    error = scores + integers + power_bound.RECIPROCAL_ERROR * (p + scores + integers)
    return error + np.where(p + error > 1 - WEIGHT_STEP, 1, 0.5) * WEIGHT_STEP


def compare(all_drawn: list[Drawn], results: list[np.ndarray]) -> list[Accuracy]:
    """``results``: weights [N, E] of each, real, NaN where an expert was not chosen. Choices: 0 where they are torch's,
    else how far the logits were apart."""
    found = []
    for real in (False, True):
        apart, weights = [], []
        for drawn, got in zip(all_drawn, results, strict=True):
            case, z = drawn.case, drawn.logits if real else drawn.dequantized()
            mine = ~np.isnan(got)
            assert (mine.sum(-1) == case.top_k).all(), "each token has top_k experts"
            best = torch.topk(torch.from_numpy(z), case.top_k + 1, dim=-1)
            theirs = np.zeros(z.shape, bool)
            np.put_along_axis(theirs, best.indices[:, :-1].numpy(), True, -1)
            margin = (best.values[:, -2] - best.values[:, -1]).numpy()
            apart.append(np.where((mine != theirs).any(-1), margin, 0.0))
            chosen = np.nonzero(mine)[1].reshape(-1, case.top_k)
            of_all = np.take_along_axis(z, chosen, -1) if case.renormalise else z
            p = torch.nn.functional.softmax(torch.from_numpy(of_all), dim=-1).numpy()
            error = STEP / 2 + np.abs(z).max(-1, keepdims=True) / (2 * MULTIPLIER) if real else 0.0
            bound = weight_bound(of_all, p, error)
            if not case.renormalise:
                p, bound = (np.take_along_axis(a, chosen, -1) for a in (p, bound))
            weights.append([a.ravel() for a in (np.take_along_axis(got, chosen, -1), p, bound)])
        name = f"{'real' if real else 'dequantized'} logits"
        far = np.concatenate(apart)
        found.append(nearest("gate", f"topk, {name}", far, np.zeros(far.shape), STEP if real else 0.0))
        found.append(nearest("gate", f"softmax of topk, {name}",
                             *(np.concatenate(part) for part in zip(*weights, strict=True))))
    return found


async def run(bench: Bench, drawn: Drawn) -> np.ndarray:
    """The RTL's weights [N, E], out of its queues."""
    case, dut = drawn.case, bench.dut
    await bench.feed(case, 1)
    weights = np.full((case.tokens, case.experts), np.nan)
    for expert in range(case.experts):
        dut.i_count_expert.value = expert
        await FallingEdge(dut.clk)
        count, before = int(dut.o_count.value), len(bench.entries.values)
        if count:
            await bench.traversal.send([{"expert": expert}])
            for entry in (await bench.entries.receive(before + count, 20_000))[before:]:
                weights[entry["token"] - case.first_token, expert] = entry["weight"] * WEIGHT_STEP
    return weights


@cocotb.test()
async def is_that_of_torch(dut):
    await start(dut)
    bench, all_drawn = Bench(dut), draws(seeded("torch"))
    for accuracy in compare(all_drawn, [await run(bench, drawn) for drawn in all_drawn]):
        accuracy.keep()


def reference(drawn: Drawn, **changed) -> np.ndarray:
    """What RTL gives, by the reference model; with a planted defect other fields of the case."""
    case = drawn.case
    kept = {name: getattr(case, name) for name in changed}
    for name, value in changed.items():
        setattr(case, name, value)
    chosen, codes = case.routed()
    for name, value in kept.items():
        setattr(case, name, value)
    weights = np.full((case.tokens, case.experts), np.nan)
    np.put_along_axis(weights, chosen, codes * WEIGHT_STEP, -1)
    return weights


DEFECTS = {
    "base e for base 2": (lambda d: reference(d, multiplier=round(MULTIPLIER * math.log(2))), "softmax"),
    "a shift of one place more": (lambda d: reference(d, shift1=SHIFT1 + 1), "softmax"),
    "weights over all for weights over the chosen": (
        lambda d: reference(d, renormalise=not d.case.renormalise), "softmax"),
    "only high parts are compared": (lambda d: reference(d, low=d.case.low * 0), "topk"),
    "the least for the largest": (lambda d: reference(d, high=-d.case.high, low=-d.case.low), "topk"),
}


def test_the_reference_model_is_within_the_bounds():
    all_drawn = draws(random.Random(1))
    for found in compare(all_drawn, [reference(drawn) for drawn in all_drawn]):
        assert found.ratio <= 1 and (found.ratio >= 0.25 or not found.bound), found


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_beyond_its_bound(defect):
    make, function = DEFECTS[defect]
    all_drawn = draws(random.Random(1))
    for found in compare(all_drawn, [make(drawn) for drawn in all_drawn]):
        assert found.ratio > 1 or not found.function.startswith(function), found
