# SPDX-License-Identifier: Apache-2.0
"""What the benches of the K and the V memory share: random writes, reads of every row, zeros at first,
bytes a cycle."""

import re

from amaranth.back import rtlil
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

from hw.interfaces import READ_LATENCY
from sim.streams import PERIOD_NS, Source, cycles, never, reset, seeded, until


async def write_and_read(dut, unit, shape, make, place, model: dict, *, stall, count: int = 400) -> None:
    """``make(rng, tile)`` is a write, ``place(write)`` yields its (row, byte, value). Then all rows are read. ``model``
    holds what was written since the reset; everything else is 0."""
    rng, cfg = seeded("kv"), unit.cfg
    writes = [make(rng, rng.randrange(cfg.kv_tiles)) for _ in range(count)]
    source = Source(dut, "i", shape, stall=stall)
    dut.en.value = 0
    await source.send(writes)
    for write in writes:
        model |= {(row, byte): value & 255 for row, byte, value in place(write)}
    await cycles(dut, unit.WRITE_LATENCY - 1)
    assert len({row for row, _ in model}) > cfg.kv_rows // 2

    # One row a cycle, in random order; READ_LATENCY later its bytes.
    rows = rng.sample(range(cfg.kv_rows), cfg.kv_rows)
    for cycle in range(len(rows) + READ_LATENCY):
        dut.en.value, dut.row.value = int(cycle < len(rows)), rows[min(cycle, len(rows) - 1)]
        if cycle >= READ_LATENCY:
            check(dut, cfg, model, rows[cycle - READ_LATENCY])
        await FallingEdge(dut.clk)
    # The last row stays while nothing is asked.
    dut.en.value = 0
    await cycles(dut, 5)
    check(dut, cfg, model, rows[-1])


def check(dut, cfg, model: dict, row: int) -> None:
    bits = int(dut.o.value)
    for byte in range(cfg.row_bytes):
        expected, got = model.get((row, byte), 0), bits >> 8 * byte & 255
        assert got == expected, f"row {row}, byte {byte}: {got}, expected {expected}"


async def begins_with_zeros(dut, unit, shape, make, place) -> None:
    """After a reset every row gives zeros, in every cycle of the sweep and after it; no write comes in between."""
    cfg, model = unit.cfg, {}
    await write_and_read(dut, unit, shape, make, place, model, stall=never)
    assert len(model) > cfg.kv_rows
    for row_of in (lambda cycle: cycle % cfg.kv_rows, lambda cycle: max(0, cycle - 3) % cfg.kv_rows,
                   lambda cycle: cfg.kv_rows - 1 - cycle % 3, lambda cycle: cfg.kv_rows - 1):
        await reset(dut)
        dut.en.value = 1
        for cycle in range(2 * cfg.kv_rows):
            dut.row.value = row_of(cycle)
            assert cycle >= unit.SWEEP or not int(dut.i__ready.value), f"a write was accepted in cycle {cycle}"
            await FallingEdge(dut.clk)
            assert cycle < READ_LATENCY - 1 or int(dut.o.value) == 0, f"cycle {cycle}: {int(dut.o.value):x}"
        assert int(dut.i__ready.value)
    await write_and_read(dut, unit, shape, make, place, {}, stall=never)


async def takes(dut, unit, shape, make, count: int = 20) -> int:
    """Cycles for ``count`` writes back to back."""
    rng, source = seeded("interval"), Source(dut, "i", shape)
    await until(dut, lambda: int(dut.i__ready.value), unit.SWEEP + 1, "ready")
    begun = get_sim_time("ns")
    await source.send([make(rng, 0) for _ in range(count)])
    return round((get_sim_time("ns") - begun) / PERIOD_NS)


def width_read(unit) -> int:
    """Bits of port ``o`` in the unit's netlist."""
    return int(re.search(r"^  wire .*width (\d+).* \\o$", rtlil.convert(unit, emit_src=False), re.M)[1])
