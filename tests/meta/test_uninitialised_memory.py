# SPDX-License-Identifier: Apache-2.0
"""Simulated memories guarantee no more than block memories: undefined at first, and while a word is written."""

import cocotb
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge

from sim.export import sim_verilog
from sim.runner import run_bench
from sim.streams import start

pytestmark = pytest.mark.rtl


class Store(wiring.Component):
    """A memory of 16 words with one port for each direction."""

    write_row: In(4)
    data: In(64)
    write: In(1)
    read_row: In(4)
    o: Out(64)

    def elaborate(self, platform):
        m = Module()
        store = m.submodules.store = memory.Memory(shape=64, depth=16, init=[])
        into, out = store.write_port(), store.read_port()
        m.d.comb += [into.addr.eq(self.write_row), into.data.eq(self.data), into.en.eq(self.write),
                     out.addr.eq(self.read_row), self.o.eq(out.data)]
        return m


def test_memories_are_undefined():
    run_bench(Store(), module=__name__)


def test_the_exact_export_promises_zeros_and_the_old_word():
    text = sim_verilog(Store(), "dut", exact=True)
    assert "64'hx" not in text and "] = 64'h0000000000000000;" in text
    assert "64'hx" in sim_verilog(Store(), "dut")


async def _access(dut, read: int, write: int | None = None, data: int = 0) -> int:
    """What a read gives, one cycle later, together with a write."""
    dut.read_row.value, dut.write.value = read, int(write is not None)
    dut.write_row.value, dut.data.value = write or 0, data
    await FallingEdge(dut.clk)
    return int(dut.o.value)


@cocotb.test()
async def words_start_with_anything(dut):
    await start(dut)
    words = [await _access(dut, row) for row in range(16)]
    assert all(words), words  # they may be alike


@cocotb.test()
async def a_word_reads_as_anything_while_it_is_written(dut):
    await start(dut)
    await _access(dut, 0, write=5, data=1)
    assert await _access(dut, 5, write=6, data=2) == 1, "another word's write leaves it as it was"
    assert await _access(dut, 5, write=5, data=3) not in (1, 3)
    assert await _access(dut, 5) == 3
