# SPDX-License-Identifier: Apache-2.0
"""Softmax unit against ``torch.nn.functional.softmax`` on real logits, within a bound that follows from the formats.

A logit z becomes an accumulator (step ``STEP``) and is scaled to t in steps of 2**-8, base 2. Of the result p_k R /
2**shift the bound is the sum of three errors (``tests.hw.support.power_bound``):

* scores: t is rounded, and the power's table is; ``of_scores``.
* integers: 16 bit: a power is cut by less than 1, n of them by less than n. 8 bit: in each of 16 key lanes the
  remainder is carried on, so that one probability is off by less than 1 and the sum of a lane by 1/2; the powers, 1/256
  of a probability each, are cut as well. ``of_truncation``.
* reciprocal: RECIPROCAL_ERROR of the result.

On real logits the rounding of accumulator and multiplier comes to that of the scores.
"""

import math

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import FallingEdge

from golden.ops.arith import reciprocal
from golden.ops.softmax import softmax
from golden.spec.machine import SLICE
from golden.spec.tables import LOG2_FRAC, PROB_CARRY_START
from hw.interfaces import SOFTMAX_SLOTS
from hw.vector.softmax.softmax import Softmax
from sim.accuracy import nearest
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support import power_bound
from tests.hw.vector.test_softmax import CFG, CONFIGS, Bench, Job

STEP = 3e-5
"""Of a logit as an accumulator: q and k of 64 channels in 8 bits make logits of +-30 up to a million."""
_SCALE = STEP * (1 << LOG2_FRAC) / math.log(2)
SHIFT1 = 15 - math.floor(math.log2(_SCALE))
MULTIPLIER = round(_SCALE * 2 ** SHIFT1)


@pytest.mark.rtl
@pytest.mark.parametrize("config", ["nano", "zcu102"])
def test_softmax_is_that_of_torch(config):
    run_bench(Softmax(CONFIGS[config]), module=__name__, name=f"softmax-{config}", env={"SOFTMAX_CFG": config})


def job_of(z: np.ndarray, **fields) -> Job:
    """Logits [lanes, keys], quantized to accumulators."""
    return Job(np.rint(z / STEP).astype(np.int64), MULTIPLIER, SHIFT1, **fields)


def dequantized(job: Job) -> np.ndarray:
    """Logits as the job's integers say them."""
    return job.scores * (job.multiplier * 2.0 ** -(job.shift1 + LOG2_FRAC)) * math.log(2)


def bound(z: np.ndarray, p: np.ndarray, job: Job, input_error=0.0) -> np.ndarray:
    """Of each probability ``p`` = softmax(z); the sum in the head of this file."""
    keys, total = z.shape[1], power_bound.least_total(z, input_error)
    scores = power_bound.of_scores(p, input_error)
    if job.wide:
        total, cut = total * 2.0 ** -job.p_shift, keys
    else:
        total, cut = total / 256, min(keys, SLICE) * PROB_CARRY_START / 256 + keys / 256
    integers = power_bound.of_truncation(p + scores, total, all_=cut)
    return scores + integers + power_bound.RECIPROCAL_ERROR * (p + scores + integers)


def compare(jobs: list[Job], logits: list[np.ndarray], results: list[np.ndarray]) -> list:
    """``results`` [lanes, keys] against torch, for dequantized and for real logits, 8 and 16 bits apart."""
    found = []
    for wide in (False, True):
        for real in (False, True):
            parts = []
            for job, drawn, got in zip(jobs, logits, results, strict=True):
                if job.wide == wide:
                    z = drawn if real else dequantized(job)
                    p = torch.nn.functional.softmax(torch.from_numpy(z), dim=-1).numpy()
                    error = 0.5 * STEP + np.abs(z).max(-1, keepdims=True) / (2 * MULTIPLIER) if real else 0.0
                    parts.append([a.ravel() for a in (got, p, bound(z, p, job, error))])
            name = f"softmax, {16 if wide else 8} bits, {'real' if real else 'dequantized'} logits"
            found.append(nearest("softmax", name, *(np.concatenate(part) for part in zip(*parts, strict=True))))
    return found


def draw(seed: int, lanes: int, most_keys: int, count: int) -> tuple[list[Job], list[np.ndarray]]:
    """Rows of attention logits: few and many keys, flat and steep."""
    gen, logits, jobs = np.random.default_rng(seed), [], []
    for n in range(count):
        keys = int(gen.choice([2, 3, 17, most_keys, gen.integers(2, most_keys + 1)]))
        z = gen.normal(gen.normal(0, 3), gen.choice([0.3, 1, 3, 6]), (lanes, keys))
        logits.append(np.clip(z, -30, 30))
        jobs.append(job_of(logits[-1], wide=bool(n % 2), p_shift=int(gen.integers(0, 4)) if n % 2 else 0))
    return jobs, logits


async def run(dut, jobs: list[Job]) -> list[np.ndarray]:
    """The RTL's probabilities of each job, real [lanes, keys]: its integers times its reciprocals."""
    bench, results = Bench(dut), []
    feed = cocotb.start_soon(bench.jobs.send([job.payload() for job in jobs]))
    beats = cocotb.start_soon(bench.scores.send([beat for job in jobs for beat in job.beats(bench.rng)]))
    for n, job in enumerate(jobs):
        done = (await bench.done.receive(n + 1))[n]
        lanes, keys = job.scores.shape
        codes = 0
        for plane in range(1 + job.wide):
            codes = 256 * codes + np.array(await bench.read(n % SOFTMAX_SLOTS, job.chunks, plane), np.int64)
        p = codes.reshape(job.chunks, CFG.tm, SLICE).transpose(1, 0, 2).reshape(CFG.tm, -1)[:lanes, :keys]
        # shift is 8 less than that of the probability itself: an attention output has 8 fraction bits.
        results.append(p * [[done["recip"][lane] * 2.0 ** -(done["shift"][lane] + 8)] for lane in range(lanes)])
        dut.p_release.value = 1
        await FallingEdge(dut.clk)
        dut.p_release.value = 0
    await feed
    await beats
    return results


@cocotb.test()
async def is_that_of_torch(dut):
    await start(dut)
    jobs, logits = draw(seeded("torch").getrandbits(32), CFG.tm, CFG.max_keys, 60)
    for accuracy in compare(jobs, logits, await run(dut, jobs)):
        accuracy.keep()


def reference(job: Job, t: np.ndarray | None = None, rescaled: bool = True) -> np.ndarray:
    """What RTL gives, by the reference model; with a planted defect other ``t``, or chunks that are not rescaled."""
    rows = softmax(job.t() if t is None else t, wide_p=job.wide, p_shift=job.p_shift, references=True)
    p, (r, sh) = rows.p.astype(np.float64), reciprocal(rows.total)
    if not rescaled:
        late = (rows.reference[:, -1:] - rows.reference).repeat(SLICE, 1)[:, :p.shape[1]]
        p = p * 2.0 ** late
    return p * (r * 2.0 ** -(31.0 + sh))[:, None]


DEFECTS = {
    "base e for base 2": lambda job: reference(job, np.rint(job.t() * math.log(2)).astype(np.int64)),
    "earlier chunks keep their reference": lambda job: reference(job, rescaled=False),
    "scores are cut, not rounded, to 7 fraction bits": lambda job: reference(job, job.t() >> 1 << 1),
    "a reciprocal of half the value": lambda job: reference(job) / 2,
    "the last key is left out of the sum": lambda job: reference(job) / (1 - reference(job)[:, -1:] * 0.999),
}


def test_the_reference_model_is_within_the_bound():
    jobs, logits = draw(1, 4, 160, 60)
    assert all(0.25 < found.ratio <= 1 for found in compare(jobs, logits, [reference(job) for job in jobs]))


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_beyond_the_bound(defect):
    jobs, logits = draw(1, 4, 160, 60)
    found = compare(jobs, logits, [DEFECTS[defect](job) for job in jobs])
    assert found[2].ratio > 1 and found[3].ratio > 1, f"16 bits: {found[2:]}"


