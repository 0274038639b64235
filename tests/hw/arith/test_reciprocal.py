# SPDX-License-Identifier: Apache-2.0
"""Reciprocal: all normalised totals, every length, whatever lies below the 16 bits that count."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from golden.ops.arith import reciprocal
from golden.spec.tables import RECIPROCAL_BITS
from hw.arith.reciprocal import Reciprocal
from sim.runner import run_bench
from sim.streams import cycles, half, reset, seeded, start


def test_reciprocal():
    run_bench(Reciprocal(), module=__name__)


async def check(dut, totals: list[int], stall=None) -> int:
    """Send ``totals``, one a cycle unless stalled; compare each result with its reference model. Cycles from first to
    last."""
    latency = Reciprocal.LATENCY
    r, sh = reciprocal(np.array(totals))
    expected = [(int(a), int(b) + RECIPROCAL_BITS) for a, b in zip(r, sh, strict=True)]
    rng, sent, seen, due, first, cycle = seeded(), 0, 0, [], None, 0
    while seen < len(totals):
        go = sent < len(totals) and not (stall and stall(rng))
        dut.i_valid.value = int(go)
        dut.i_total.value = totals[sent] if go else rng.getrandbits(31)
        if go:
            due.append(cycle + latency)
            sent += 1
        valid = int(dut.o_valid.value)
        assert valid == bool(due and due[0] == cycle), f"cycle {cycle}: valid {valid}"
        if valid:
            first = cycle if first is None else first
            got = int(dut.o_recip.value), int(dut.o_length.value)
            assert got == expected[seen], f"total {totals[seen]}: {got}, expected {expected[seen]}"
            due.pop(0)
            seen += 1
        await FallingEdge(dut.clk)
        cycle += 1
    dut.i_valid.value = 0
    return cycle - 1 - first


@cocotb.test()
async def matches_golden_for_every_normalised_total(dut):
    await start(dut)
    rng = seeded()
    totals = []
    for n in range(1 << 15, 1 << 16):
        length = rng.randint(1, 31)
        total = n << length - 16 if length >= 16 else n >> 16 - length
        totals.append(total | (rng.getrandbits(length - 16) if length > 16 else 0))
    assert len({total.bit_length() for total in totals}) == 31
    assert await check(dut, totals) == len(totals) - 1, "one result a cycle"


@cocotb.test()
async def matches_golden_at_full_length(dut):
    """Each of the 2**15 divisors as it stands, with the 15 bits below set: they must not round it up."""
    await start(dut)
    await check(dut, [n << 15 | 0x7FFF for n in range(1 << 15, 1 << 16)])


@cocotb.test()
async def matches_golden_for_small_totals_when_stalled(dut):
    await start(dut)
    corners = [value for length in range(1, 32) for value in ((1 << length) - 1, 1 << length - 1)]
    await check(dut, list(range(1, 1200)) + corners, stall=half)


@cocotb.test()
async def forgets_at_reset(dut):
    await start(dut)
    dut.i_valid.value, dut.i_total.value = 1, 12345
    await cycles(dut, 5)
    dut.i_valid.value = 0
    await reset(dut)
    for _ in range(Reciprocal.LATENCY + 2):
        assert not int(dut.o_valid.value)
        await FallingEdge(dut.clk)
    await check(dut, [1, 2, 3])
