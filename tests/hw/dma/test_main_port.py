# SPDX-License-Identifier: Apache-2.0
"""The main port: each reader gets its own beats, stores go on meanwhile, windows, faults and drain of each side."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.status import Status
from hw.axi import BEAT_BITS, TRANSFER
from hw.dma.main_port import MainPort
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until
from tests.hw.support.axi_agents import BEAT, ReadMemory, WriteMemory
from tests.hw.support.dma_engines import content

pytestmark = pytest.mark.rtl
READ_LO, READ_HI, WRITE_LO, WRITE_HI = 0x1000, 0x9000, 0x4_0000_0000, 0x4_0000_4000


def test_main_port():
    run_bench(MainPort(), module=__name__)


class Bench:
    """A fresh port with open windows, its two memories and its clients."""

    async def begin(self, dut, stall=lambda: never, limit=1 << 16) -> "Bench":
        self.dut = dut
        await reset(dut)
        dut.read_lo.value, dut.read_hi.value, dut.write_lo.value, dut.write_hi.value = (
            READ_LO, READ_HI, WRITE_LO, WRITE_HI)
        dut.limit.value, dut.halt.value, dut.fetching.value = limit, 0, 0
        self.reads = ReadMemory(dut, content, prefix="read__", latency=9, stall_ar=stall(), stall_r=stall())
        self.writes = WriteMemory(dut, prefix="write__", latency=7, stall_aw=stall(), stall_w=stall(), stall_b=stall())
        self.sources = {name: Source(dut, f"i_{name}", TRANSFER, stall=stall()) for name in ("fetch", "load", "store")}
        self.data = Source(dut, "i_data", BEAT_BITS, stall=stall())
        self.sinks = {name: Sink(dut, f"o_{name}", BEAT_BITS, stall=stall()) for name in ("fetch", "load")}
        self.seen = {"read": [], "write": []}
        self.beats = {"read": 0, "write": 0}
        self.expired: set[str] = set()
        self.task = cocotb.start_soon(self._watch())
        return self

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            for side in self.seen:
                def value(name, side=side):
                    return int(getattr(self.dut, f"{side}_{name}").value)
                if value("fault"):
                    self.seen[side].append((value("fault_code"), value("fault_addr")))
                self.beats[side] += value("beat")
                self.expired |= {side} if value("expired") else set()

    def end(self) -> None:
        for agent in (self.reads, self.writes, *self.sinks.values(), self):
            agent.task.cancel()
        for source in (*self.sources.values(), self.data):
            source.idle()


@cocotb.test()
async def each_reader_gets_its_beats_while_stores_go_on(dut):
    await start(dut)
    rng = seeded("main")
    for stall in (lambda: never, lambda: half, bursts):
        bench = await Bench().begin(dut, stall)
        other = {"fetch": "load", "load": "fetch"}
        stored = {}
        for reader in ("fetch", "load", "fetch", "load"):
            dut.fetching.value = int(reader == "fetch")
            await FallingEdge(dut.clk)
            addr, beats = READ_LO + BEAT * rng.randrange(400), rng.randint(1, 100)
            place, lines = WRITE_LO + BEAT * rng.randrange(400), rng.randint(1, 70)
            words = [rng.getrandbits(128) for _ in range(lines)]
            stored |= {place + BEAT * n: word for n, word in enumerate(words)}
            before = {name: len(sink.values) for name, sink in bench.sinks.items()}
            tasks = [cocotb.start_soon(bench.sources["store"].send([{"addr": place, "beats": lines}])),
                     cocotb.start_soon(bench.data.send(words)),
                     cocotb.start_soon(bench.sources[reader].send([{"addr": addr, "beats": beats}]))]
            uninvited = cocotb.start_soon(bench.sources[other[reader]].send([{"addr": READ_LO, "beats": 1}]))
            await bench.sinks[reader].receive(before[reader] + beats, 20_000)
            assert bench.sinks[reader].values[before[reader]:] == [content(addr + BEAT * n) for n in range(beats)]
            for task in tasks:
                await task
            assert not int(dut.stored.value) or bench.writes.owed == 0
            await until(dut, lambda: int(dut.stored.value) == 1, 4000, "stored")
            assert bench.writes.memory == stored and bench.writes.owed == 0
            await cycles(dut, 5)
            assert len(bench.sinks[other[reader]].values) == before[other[reader]], "beats for the wrong reader"
            assert not uninvited.done(), "a transfer of the other reader was taken"
            uninvited.cancel()
            bench.sources[other[reader]].idle()
        assert not any(bench.seen.values()) and not bench.expired
        assert bench.beats == {"read": bench.reads.beats, "write": len(bench.writes.written)}
        assert min(bench.beats.values()) > 20
        bench.end()


@cocotb.test()
async def each_side_has_its_window(dut):
    await start(dut)
    for side, kind, code, inside, outside in (
            ("read", "load", Status.RANGE_READ, READ_HI - BEAT, READ_HI),
            ("read", "fetch", Status.RANGE_READ, READ_LO, READ_LO - BEAT),
            ("write", "store", Status.RANGE_WRITE, WRITE_HI - BEAT, WRITE_HI),
            ("write", "store", Status.RANGE_WRITE, WRITE_LO, WRITE_LO - BEAT)):
        bench = await Bench().begin(dut)
        dut.fetching.value = int(kind == "fetch")
        await FallingEdge(dut.clk)
        cocotb.start_soon(bench.data.send([1]))
        await bench.sources[kind].send([{"addr": inside, "beats": 1}])
        await cycles(dut, 60)
        assert not any(bench.seen.values()), (kind, hex(inside))
        await bench.sources[kind].send([{"addr": outside, "beats": 1}])
        await until(dut, lambda b=bench, s=side: bool(b.seen[s]), 100, "the fault")
        assert bench.seen == {"read": [], "write": []} | {side: [(code, outside)]}
        bench.end()


@cocotb.test()
async def a_silent_side_is_named_and_both_drain(dut):
    await start(dut)
    for side, dead, kind in (("read", "r", "load"), ("write", "b", "store")):
        bench = await Bench().begin(dut, limit=100)
        agent = bench.reads if side == "read" else bench.writes
        agent.dead = {dead}
        cocotb.start_soon(bench.data.send([5]))
        await bench.sources[kind].send([{"addr": READ_LO if side == "read" else WRITE_LO, "beats": 1}])
        await cycles(dut, 30)
        assert not int(getattr(dut, f"{side}_quiet").value)
        await until(dut, lambda b=bench: bool(b.expired), 400, "the time limit")
        assert bench.expired == {side}
        agent.dead, dut.halt.value = set(), 1
        await until(dut, lambda: int(dut.read_quiet.value) and int(dut.write_quiet.value), 400, "quiet")
        bench.end()
