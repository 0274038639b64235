# SPDX-License-Identifier: Apache-2.0
"""Narrowing against its twin: every border of every exponent, in every lane, of either half."""

from collections import Counter

import cocotb
import numpy as np
import pytest

from golden.ops.arith import narrow
from golden.spec.machine import LANES, TN
from hw.core.narrow import Narrow
from hw.core.requant import V_BITS
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.pipeline import through

BORDERS = [sign * (base + d) for d in (-1, 0, 1) for sign in (1, -1)
           for base in (127, 128, 254, 255, 257, 258, 509, 510, 514, 515, 1019, 1020, 1028, 1029, 2047, 2048, 4096)]
ENDS = (-(1 << (V_BITS - 1)), (1 << (V_BITS - 1)) - 1)


@pytest.mark.rtl
def test_narrow():
    run_bench(Narrow(), module=__name__)


def block(rng) -> list[int]:
    """Small values, and one or a few at a border."""
    spread = rng.choice((0, 20, 100, 200, 400, 900))
    values = [rng.randint(-spread, spread) for _ in range(TN)]
    for _ in range(rng.choice((0, 1, 1, 3))):
        values[rng.randrange(TN)] = rng.choice((*BORDERS, *ENDS, rng.randint(*ENDS)))
    return values


async def compare(dut, blocks: list[list[int]]) -> Counter:
    inputs = [{"v": values[LANES * half:LANES * (half + 1)], "half": half} for values in blocks for half in range(2)]
    got = await through(dut, Narrow(), Narrow.LATENCY, inputs, "byte")
    exps = await through(dut, Narrow(), Narrow.LATENCY, inputs, "exp")
    expected, wanted = narrow(np.array(blocks))
    for n, values in enumerate(blocks):
        found, exp = got[2 * n] + got[2 * n + 1], exps[2 * n:2 * n + 2]
        assert exp == [wanted[n, 0]] * 2, f"{values}: exponents {exp}, expected {wanted[n, 0]}"
        assert found == expected[n].tolist(), f"{values}: {found}, expected {expected[n].tolist()}"
    saturated = (np.abs(np.array(blocks)) > 128 * 8 + 4).any(-1)
    return Counter(wanted[:, 0].tolist()) + Counter(saturated=int(saturated.sum()))


@cocotb.test()
async def matches_golden(dut):
    await start(dut)
    rng = seeded("blocks")
    census = await compare(dut, [block(rng) for _ in range(1500)])
    print("census", dict(census))
    assert all(census[e] > 100 for e in range(4)) and census["saturated"] > 100


@cocotb.test()
async def one_value_at_every_border_in_every_lane(dut):
    await start(dut)
    await compare(dut, [[border if lane == n else 0 for n in range(TN)]
                        for border in (*BORDERS, *ENDS) for lane in range(0, TN, 5)])
