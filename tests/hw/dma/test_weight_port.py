# SPDX-License-Identifier: Apache-2.0
"""The weight stream through its ports: every line whole, in order, where it belongs, at full rate, in long bursts."""

from dataclasses import replace
from functools import partial

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.machine import LINE, NANO
from golden.spec.status import Status
from hw.dma.range_builder import PATIENCE, SETTLE, RangeBuilder
from hw.dma.weight_lines import CHUNK, CHUNK_LINES, RANGE, ROUTE, Destination
from hw.dma.weight_port import WeightPort
from hw.dma.weight_stream import WeightStream
from hw.interfaces import LINE_BITS
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until
from tests.hw.support.axi_agents import LONGEST, ReadMemory
from tests.hw.support.dma_engines import content

pytestmark = pytest.mark.rtl
LO, HI = 0x8_0000_0000, 0xA_0000_0000
OUTPUTS = {Destination.RING: "o_ring", Destination.PARAM: "o_param", Destination.NORM: "o_norm",
           Destination.MULTIPLIERS: "o_multipliers"}
STREAM = ["delivers_every_line_where_it_belongs", "takes_grants_at_any_moment", "sustains_its_rate",
          "joins_chunks_into_long_bursts", "hands_out_a_short_grant_in_time",
          "hands_out_a_short_grant_at_once_to_idle_ports", "refuses_what_leaves_the_window"]


DAILY = [(1, 16, 64), (4, 16, 64), (2, 32, 16), (4, 32, 16)]
"""Those of the presets; the others, each a build of its own, are for the night."""
NIGHTLY = [(2, 16, 64), (1, 32, 64), (2, 32, 64), (1, 16, 16), (4, 16, 16), (1, 32, 16), (4, 32, 64)]


@pytest.mark.parametrize("ports, beat, longest",
                         [*DAILY, *(pytest.param(*each, marks=pytest.mark.nightly) for each in NIGHTLY)])
def test_weight_stream(ports, beat, longest):
    cfg = replace(NANO, ports=ports, port_bytes=beat, max_burst=longest, ring_lines=1024)
    run_bench(WeightStream(cfg), module=__name__, name=f"weight_stream_{ports}_{beat}_{longest}", tests=STREAM,
              env={"LONGEST": str(longest)})


@pytest.mark.parametrize("beat", [16, 32])
def test_weight_port(beat):
    run_bench(WeightPort(replace(NANO, port_bytes=beat)), module=__name__, name=f"weight_port_{beat}",
              tests=["keeps_its_latency"])


class Testbench:
    """A plane for each port, the prefetcher's side as sources, the four destinations as sinks."""

    def __init__(self, dut, *, aligned=False, stall=never, latency=100):
        self.dut, self.rng = dut, seeded("tb")
        self.ports = len([name for name in dir(dut) if name.startswith("axi__") and name.endswith("__araddr")])
        self.beat = len(dut.axi__0__rdata) // 8
        self.lines = max(1, self.ports * self.beat // LINE)
        """Lines of a stream beat."""
        self.share = self.lines * LINE // self.ports
        self.share_beats = self.share // self.beat
        self.bases = [LO + 0x100_0000 * p + (0 if aligned else 64 * self.rng.randrange(64)) for p in range(self.ports)]
        dut.lo.value, dut.hi.value, dut.limit.value, dut.halt.value = LO, HI, 1 << 20, 0
        for p, base in enumerate(self.bases):
            getattr(dut, f"base__{p}").value = base
        self.memories = [ReadMemory(dut, partial(content, size=self.beat), prefix=f"axi__{p}__", latency=latency,
                                    stall_ar=stall, stall_r=stall) for p in range(self.ports)]
        self.chunks, self.routes = Source(dut, "i_chunk", CHUNK, stall=stall), Source(dut, "i_route", ROUTE)
        self.sinks = {target: Sink(dut, name, self.lines * LINE_BITS) for target, name in OUTPUTS.items()}

    def stop(self):
        for agent in (*self.memories, *self.sinks.values()):
            agent.task.cancel()

    def whole(self, lines):
        """As many lines, or more, as make whole stream beats."""
        return -(-lines // self.lines) * self.lines

    def beat_of(self, number):
        """A stream beat: the shares of all ports, port 0 lowest."""
        return sum(content(base + number * self.share, self.share) << 8 * p * self.share
                   for p, base in enumerate(self.bases))

    async def ask(self, segments):
        """``segments``: (destination, lines, first line), as the prefetcher would send them."""
        chunks, following = [], None
        for _, lines, line in segments:
            while lines:
                n = min(lines, CHUNK_LINES)
                chunks.append({"line": line, "lines": n, "jump": int(line != following)})
                line, lines = line + n, lines - n
                following = line
        routes = cocotb.start_soon(self.routes.send({"destination": target.value, "lines": lines}
                                                    for target, lines, _ in segments))
        await self.chunks.send(chunks)
        await routes

    async def arrived(self, segments, limit=50_000):
        wanted = {target: [] for target in OUTPUTS}
        for target, lines, line in segments:
            wanted[target] += [line // self.lines + n for n in range(lines // self.lines)]
        await until(self.dut, lambda: all(len(self.sinks[t].values) >= len(w) for t, w in wanted.items()), limit,
                    "the last line")
        await cycles(self.dut, 50)
        for target, beats in wanted.items():
            assert self.sinks[target].values == [self.beat_of(n) for n in beats], target.name


@cocotb.test()
async def delivers_every_line_where_it_belongs(dut):
    await start(dut)
    rng = seeded("segments")
    for stall in (never, half, bursts()):
        await reset(dut)
        tb = Testbench(dut, stall=stall, latency=rng.choice([1, 40]))
        line, segments = 0, []
        for _ in range(40):
            line = tb.whole(rng.choice([line, line, line, rng.randrange(1 << 16)]))
            lines = tb.whole(rng.choice([1, 6, 8, 12, 96, rng.randint(1, 40)]))
            segments.append((rng.choice(list(Destination)), lines, line))
            line += lines
        for sink in tb.sinks.values():
            sink.stall = rng.choice([never, half])
        await tb.ask(segments)
        await tb.arrived(segments)
        tb.stop()


@cocotb.test()
async def takes_grants_at_any_moment(dut):
    """Single chunks that follow or jump, with pauses of every length in between."""
    await start(dut)
    await reset(dut)
    rng = seeded("moments")
    tb = Testbench(dut, latency=1)
    line, segments = 0, []
    for n in range(400):
        line = line if n % 2 else tb.whole(rng.randrange(1 << 16))
        segments.append((Destination.RING, tb.whole(rng.randint(1, CHUNK_LINES)), line))
        line += segments[-1][1]
    following = None
    routes = cocotb.start_soon(tb.routes.send({"destination": 0, "lines": lines} for _, lines, _ in segments))
    for n, (_, lines, line) in enumerate(segments):
        # Pairs: a chunk that follows comes any time after its predecessor, a jump right after it.
        await cycles(dut, 0 if n % 2 == 0 else rng.choice([0, 1, 2, 3, 20, rng.randint(0, 40)]))
        await tb.chunks.send([{"line": line, "lines": lines, "jump": int(line != following)}])
        following = line + lines
    await routes
    await tb.arrived(segments)


@cocotb.test()
async def sustains_its_rate(dut):
    """Ports of 64 bytes bring a line a cycle, those of 128 bytes two, although the bus takes 100 cycles to answer."""
    await start(dut)
    await reset(dut)
    tb = Testbench(dut, aligned=True)
    segments = [(Destination.PARAM, 6, 0), (Destination.RING, 800, 6), (Destination.NORM, 18, 806),
                (Destination.RING, 200, 824)]
    await tb.ask(segments)
    await tb.arrived(segments)
    times = sorted(time for sink in tb.sinks.values() for time in sink.times)
    assert times[-1] - times[0] <= tb.share_beats * 1024 // tb.lines + 150, times[-1] - times[0]
    # Once under way nothing breaks the stream, neither a burst's end nor another destination.
    late = [time for time in times if time > times[0] + 150]
    assert late[-1] - late[0] == tb.share_beats * (len(late) - 1)


@cocotb.test()
async def joins_chunks_into_long_bursts(dut):
    await start(dut)
    await reset(dut)
    tb = Testbench(dut, aligned=True)
    tiles = [(Destination.PARAM, 6), (Destination.RING, 96)] * 10
    line, segments = 0, []
    for target, lines in tiles:
        segments.append((target, lines, line))
        line += lines
    await tb.ask(segments)
    await tb.arrived(segments)
    for memory in tb.memories:
        beats = [burst.beats for burst in memory.bursts]
        assert sum(beats) == line // tb.lines * tb.share_beats
        # The first ones may be short, to begin early; then whole bursts, whatever the tiles.
        assert beats.count(LONGEST) >= len(beats) - 5, beats


@cocotb.test()
async def hands_out_a_short_grant_in_time(dut):
    """A grant that cannot grow goes out after a short patience: its consumer may be waiting for just that."""
    await start(dut)
    await reset(dut)
    tb = Testbench(dut, latency=300)
    lines = min(80, 5 * LONGEST * tb.lines // tb.share_beats)  # few bursts, which are all requested by then
    await tb.ask([(Destination.RING, lines, 0)])
    await cycles(dut, 100)  # the ports are busy, so nothing hurries
    await tb.ask([(Destination.MULTIPLIERS, tb.lines, lines)])
    asked = tb.memories[0].cycle
    wanted = (lines // tb.lines + 1) * tb.share_beats
    await until(dut, lambda: sum(b.beats for b in tb.memories[0].bursts) == wanted, 80, "the last line")
    assert tb.memories[0].cycle - asked < 70
    await tb.arrived([(Destination.RING, lines, 0), (Destination.MULTIPLIERS, tb.lines, lines)])


@cocotb.test()
async def hands_out_a_short_grant_at_once_to_idle_ports(dut):
    """Nothing is gained by waiting for more, and that not only for the first one."""
    await start(dut)
    await reset(dut)
    tb = Testbench(dut, latency=5)
    for line in range(0, 5 * tb.lines, tb.lines):
        await cycles(dut, 2 * SETTLE)
        bursts_before = len(tb.memories[0].bursts)
        await tb.ask([(Destination.RING, tb.lines, line)])
        asked = tb.memories[0].cycle
        await until(dut, lambda n=bursts_before: len(tb.memories[0].bursts) > n, 80, "the burst")
        assert tb.memories[0].cycle - asked < RangeBuilder.LATENCY + WeightPort.LATENCY + PATIENCE // 2, line
    await tb.arrived([(Destination.RING, 5 * tb.lines, 0)])


@cocotb.test()
async def refuses_what_leaves_the_window(dut):
    await start(dut)
    for first in (0, (1 << 32) - 8):
        await reset(dut)
        tb = Testbench(dut)
        end = tb.bases[-1] + 64 * tb.share
        dut.hi.value = end
        last = 0 if first else 64 * tb.lines - 4
        cocotb.start_soon(tb.ask([(Destination.RING, 8, first or last)]))
        seen = []
        for _ in range(200):
            await RisingEdge(dut.clk)
            for p in range(tb.ports):
                if int(getattr(dut, f"fault__{p}").value):
                    seen.append((p, int(getattr(dut, f"fault_code__{p}").value)))
            await FallingEdge(dut.clk)
        assert seen and all(code == Status.RANGE_READ for _, code in seen)
        assert tb.ports - 1 in [p for p, _ in seen]
        assert all(burst.addr + tb.beat * burst.beats <= end for burst in tb.memories[-1].bursts)
        tb.stop()


@cocotb.test()
async def keeps_its_latency(dut):
    await start(dut)
    await reset(dut)
    dut.lo.value, dut.hi.value, dut.limit.value, dut.halt.value, dut.base.value = LO, HI, 1 << 20, 0, LO + 64
    memory = ReadMemory(dut, content)  # gives nothing
    memory.dead.add("ar")
    await Source(dut, "i", RANGE).send([{"beat": 3, "beats": 2}])
    waited = await until(dut, lambda: int(dut.axi__arvalid.value) == 1, 50, "ARVALID")
    assert waited == WeightPort.LATENCY - 1, waited
    assert int(dut.axi__araddr.value) == LO + 64 + 3 * NANO.share_bytes
