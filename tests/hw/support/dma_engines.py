# SPDX-License-Identifier: Apache-2.0
"""Bench of the DMA engines: a fresh engine before a memory, a log of its faults, a memory that rows are read from."""

from functools import partial

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from hw.axi import BEAT_BITS, TRANSFER
from hw.interfaces import READ_LATENCY
from sim.streams import Sink, Source, never, reset, seeded
from tests.hw.support.axi_agents import BEAT, PORT_BEAT, ReadMemory, WriteMemory

LO, HI = 0x8_0000_0000, 0x9_0000_0000
"""The window that is open."""
AGENTS = []
"""What was started around the engine; stopped when a fresh one begins."""


def content(addr, size=BEAT):
    """What a read of ``size`` bytes finds at an address."""
    return sum((at * 0x9E3779B97F4A7C15F39CC0605CEDC835 ^ at << 64) % (1 << 128) << 8 * (at - addr)
               for at in range(addr, addr + size, BEAT))


async def _fresh(dut, limit):
    while AGENTS:
        AGENTS.pop().task.cancel()
    await reset(dut)
    dut.lo.value, dut.hi.value, dut.limit.value, dut.halt.value = LO, HI, limit, 0


async def read_engine(dut, *, limit=1 << 20, **options):
    """A fresh engine with an open window: (memory, source, sink)."""
    await _fresh(dut, limit)
    sink = Sink(dut, "o", 8 * PORT_BEAT, stall=options.pop("stall_o", never))
    source = Source(dut, "i", TRANSFER, stall=options.pop("stall_i", never))
    memory = ReadMemory(dut, partial(content, size=PORT_BEAT), **options)
    AGENTS.extend([sink, memory])
    return memory, source, sink


async def write_engine(dut, *, limit=1 << 20, **options):
    """A fresh engine with an open window: (memory, transfers, data)."""
    await _fresh(dut, limit)
    memory = WriteMemory(dut, **options)
    AGENTS.append(memory)
    return memory, Source(dut, "i", TRANSFER), Source(dut, "i_data", BEAT_BITS)


class Faults:
    """Every fault pulse as (code, address), and how often the bus timer expired; ``ready``, the ready of the engine's
    response channel, must never fall."""

    def __init__(self, dut, ready):
        self.dut, self.seen, self.expired, self.owed = dut, [], 0, set()
        self.ready = getattr(dut, f"axi__{ready}")
        self.task = cocotb.start_soon(self._run())
        AGENTS.append(self)

    async def _run(self):
        while True:
            await RisingEdge(self.dut.clk)
            assert int(self.ready.value), f"{self.ready._name} must never fall."
            if int(self.dut.fault.value):
                self.seen.append((int(self.dut.fault_code.value), int(self.dut.fault_addr.value)))
            self.expired += int(self.dut.expired.value)
            if int(self.dut.expired.value):
                self.owed.add(int(self.dut.fault_addr.value))


class BeatCounter:
    """Sum of the engine's ``beat`` event."""

    def __init__(self, dut):
        self.dut, self.beats = dut, 0
        self.task = cocotb.start_soon(self._run())
        AGENTS.append(self)

    async def _run(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.beats += int(self.dut.beat.value)


class MemoryReader:
    """A memory's read side: takes a row unless it stalls, shows the answer READ_LATENCY later, noise otherwise."""

    def __init__(self, dut, name, answer, rows, wrap, stall):
        self.dut, self.rows, self.wrap, self.stall = dut, rows, wrap, stall
        self.valid, self.ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self.row, self.answer = getattr(dut, f"{name}__payload"), getattr(dut, answer)
        self.rng, self.pipe = seeded(name), [None] * READ_LATENCY
        cocotb.start_soon(self._run())

    async def _run(self):
        while True:
            self.ready.value = int(not self.stall(self.rng))
            await RisingEdge(self.dut.clk)
            taken = int(self.valid.value) and int(self.ready.value)
            self.pipe = [int(self.row.value) if taken else None, *self.pipe[:-1]]
            await FallingEdge(self.dut.clk)
            row = self.pipe[-1]
            self.answer.value = self.rng.getrandbits(len(self.answer)) if row is None else self.wrap(self.rows[row])
