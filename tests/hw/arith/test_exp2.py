# SPDX-License-Identifier: Apache-2.0
"""Exponential: every fraction with every distance that leaves something, and all distances, in every lane."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from golden.ops.softmax import exp2_below
from golden.spec.tables import EXP_ONE, LOG2_FRAC, SCORE_REFERENCE_MIN
from hw.arith.exp2 import DISTANCE_BITS, EXPONENT, EXPONENTIAL_BITS, Exponential
from sim.payload import pack
from sim.runner import run_bench
from sim.streams import seeded, start

LANES = 4
DISTANCES = -2 * SCORE_REFERENCE_MIN
"""Largest whole part: from the highest reference down to the lowest score."""


def test_exponential():
    run_bench(Exponential(LANES), module=__name__)


@cocotb.test()
async def matches_golden_everywhere(dut):
    """All distances f in 0..65536 and every whole part beyond, one a cycle in each lane, each lane in its own order;
    LATENCY and II."""
    await start(dut)
    rng, latency, width = seeded(), Exponential(LANES).LATENCY, EXPONENT.size
    far = [whole << LOG2_FRAC | rng.randrange(1 << LOG2_FRAC) for whole in range(256, DISTANCES)]
    distances = [*range(65537), *far, DISTANCES << LOG2_FRAC]
    count = len(distances)
    assert DISTANCES.bit_length() == DISTANCE_BITS
    orders = np.array([rng.sample(distances, count) for _ in range(LANES)])
    expected = exp2_below(orders).T.tolist()
    assert max(map(max, expected)) == EXP_ONE and sum(e[0] == 0 for e in expected) > count // 2
    steps = orders.T.tolist()
    for cycle in range(count + latency):
        if cycle < count:
            bits = 0
            for lane, f in enumerate(steps[cycle]):
                bits |= (f & 255 | f >> LOG2_FRAC << LOG2_FRAC) << (lane * width)
            dut.i.value = bits
        if cycle >= latency:
            bits = int(dut.o.value)
            got = [bits >> (EXPONENTIAL_BITS * lane) & 0xFFFF for lane in range(LANES)]
            f, wanted = steps[cycle - latency], expected[cycle - latency]
            assert got == wanted, f"f {f}: {got}, expected {wanted}"
        await FallingEdge(dut.clk)


@cocotb.test()
async def packs_fraction_below_whole(dut):
    """The bit order the test above relies on."""
    assert pack(EXPONENT, {"fraction": 5, "whole": 3}) == 3 << LOG2_FRAC | 5
    await start(dut)
