# SPDX-License-Identifier: Apache-2.0
"""Block quantization against its reference model: every border of every exponent, in every lane, of any part, in
parts of any size."""

import os
from collections import Counter

import cocotb
import numpy as np
import pytest

from golden.ops.arith import block_quantize
from golden.spec.machine import TN
from hw.arith.block_quantize import BlockWriter
from hw.vector.requantize import V_BITS
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support.pipeline import through

BORDERS = [sign * (base + d) for d in (-1, 0, 1) for sign in (1, -1)
           for base in (127, 128, 254, 255, 257, 258, 509, 510, 514, 515, 1019, 1020, 1028, 1029, 2047, 2048, 4096)]
UNIT = BlockWriter(int(os.environ.get("QUANTIZE_LANES", "16")))
LANES, PARTS = TN // UNIT.parts, UNIT.parts
ENDS = (-(1 << (V_BITS - 1)), (1 << (V_BITS - 1)) - 1)


@pytest.mark.rtl
@pytest.mark.parametrize("lanes", [16, 4, 2])
def test_block_quantize(lanes):
    run_bench(BlockWriter(lanes), module=__name__, name=f"block_quantize-{lanes}", env={"QUANTIZE_LANES": str(lanes)})


def block(rng) -> list[int]:
    """Small values, and one or a few at a border."""
    limit = rng.choice((0, 20, 100, 200, 400, 900))
    values = [rng.randint(-limit, limit) for _ in range(TN)]
    for _ in range(rng.choice((0, 1, 1, 3))):
        values[rng.randrange(TN)] = rng.choice((*BORDERS, *ENDS, rng.randint(*ENDS)))
    return values


async def compare(dut, blocks: list[list[int]]) -> Counter:
    inputs = [{"v": values[LANES * part:LANES * (part + 1)], "later": int(part != 0)}
              for values in blocks for part in range(PARTS)]
    got = await through(dut, UNIT, UNIT.LATENCY, inputs, "byte")
    exps = await through(dut, UNIT, UNIT.LATENCY, inputs, "exp")
    expected, wanted = block_quantize(np.array(blocks))
    for n, values in enumerate(blocks):
        found, exp = sum(got[PARTS * n:PARTS * (n + 1)], []), exps[PARTS * n:PARTS * (n + 1)]
        assert exp == [wanted[n, 0]] * PARTS, f"{values}: exponents {exp}, expected {wanted[n, 0]}"
        assert found == expected[n].tolist(), f"{values}: {found}, expected {expected[n].tolist()}"
    saturated = (np.abs(np.array(blocks)) > 128 * 8 + 4).any(-1)
    return Counter(wanted[:, 0].tolist()) + Counter(saturated=int(saturated.sum()))


@cocotb.test()
async def matches_golden(dut):
    await start(dut)
    rng = seeded("blocks")
    coverage = await compare(dut, [block(rng) for _ in range(3000 // PARTS)])
    print("coverage", dict(coverage))
    assert all(coverage[e] > 200 // PARTS for e in range(4)) and coverage["saturated"] > 200 // PARTS


@cocotb.test()
async def one_value_at_every_border_in_every_lane(dut):
    await start(dut)
    await compare(dut, [[border if lane == n else 0 for n in range(TN)]
                        for border in (*BORDERS, *ENDS) for lane in range(0, TN, 5)])
