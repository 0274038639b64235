# SPDX-License-Identifier: Apache-2.0
"""Reciprocal root: corners of every exponent, squares and their neighbours, random variances."""

from math import isqrt

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from golden.ops.arith import rsqrt
from hw.arith.rsqrt import ReciprocalRoot
from sim.runner import run_bench
from sim.streams import cycles, half, reset, seeded, start

BITS = ReciprocalRoot.WIDTH


def test_rsqrt():
    run_bench(ReciprocalRoot(), module=__name__)


async def check(dut, variances: list[int], stall=None) -> int:
    """Send ``variances``, one a cycle unless stalled; compare each result with its reference model. Cycles from first
    to last."""
    r, j = rsqrt(np.array(variances))
    expected = list(zip(r.tolist(), j.tolist(), strict=True))
    rng, sent, seen, due, first, cycle = seeded(), 0, 0, [], None, 0
    while seen < len(variances):
        go = sent < len(variances) and not (stall and stall(rng))
        dut.i_valid.value = int(go)
        dut.i_variance.value = variances[sent] if go else rng.getrandbits(BITS)
        if go:
            due.append(cycle + ReciprocalRoot.LATENCY)
            sent += 1
        valid = int(dut.o_valid.value)
        assert valid == bool(due and due[0] == cycle), f"cycle {cycle}: valid {valid}"
        if valid:
            first = cycle if first is None else first
            got = int(dut.o_r.value), dut.o_j.value.to_signed()
            assert got == expected[seen], f"variance {variances[seen]}: {got}, expected {expected[seen]}"
            due.pop(0)
            seen += 1
        await FallingEdge(dut.clk)
        cycle += 1
    dut.i_valid.value = 0
    return cycle - 1 - first


@cocotb.test()
async def matches_golden_at_random(dut):
    """Any length; the coverage wants every exponent and both parities."""
    await start(dut)
    rng = seeded()
    variances = [rng.getrandbits(length) | 1 << length - 1 for length in range(1, BITS + 1) for _ in range(400)]
    assert set(rsqrt(np.array(variances))[1].tolist()) == set(range(-9, 17))
    rng.shuffle(variances)
    assert await check(dut, variances) == len(variances) - 1, "one result a cycle"


@cocotb.test()
async def matches_golden_around_squares(dut):
    """Roots change between n**2 - 1 and n**2: both sides, at the scale of the recurrence and beyond it."""
    await start(dut)
    rng = seeded()
    roots = [1 << 16, (1 << 16) + 1, (1 << 17) - 1] + [rng.randrange(1 << 16, 1 << 17) for _ in range(3000)]
    variances = [n * n + d for n in roots for d in (-1, 0, 1) if 1 << 32 <= n * n + d]
    variances += [(n * n + d) << 18 for n in roots[:500] for d in (-1, 0) if 1 << 32 <= n * n + d]
    assert all(isqrt(n * n - 1) == n - 1 for n in roots)
    await check(dut, variances)


@cocotb.test()
async def matches_golden_at_corners_when_stalled(dut):
    await start(dut)
    corners = [value for length in range(1, BITS + 1) for value in ((1 << length) - 1, 1 << length - 1)]
    await check(dut, list(range(1, 700)) + corners, stall=half)


@cocotb.test()
async def forgets_at_reset(dut):
    await start(dut)
    dut.i_valid.value, dut.i_variance.value = 1, 12345
    await cycles(dut, 5)
    dut.i_valid.value = 0
    await reset(dut)
    for _ in range(ReciprocalRoot.LATENCY + 2):
        assert not int(dut.o_valid.value)
        await FallingEdge(dut.clk)
    await check(dut, [1, 2, 3])
