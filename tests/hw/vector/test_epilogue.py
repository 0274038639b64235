# SPDX-License-Identifier: Apache-2.0
"""Epilogue against its reference models: every destination, every option, stalls everywhere, own writes seen, timing,
refusals."""

import itertools
import os
from dataclasses import replace

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.ops.saturation import SaturationCounters
from golden.spec.activations import ACT_SHIFT_MAX, BY_CODE
from golden.spec.machine import NANO, ZCU102
from golden.spec.status import Status
from hw.array.array import drain_beat
from hw.interfaces import (
    GATE_BEAT,
    KEY_WRITE,
    LINE_BITS,
    OPERAND_WRITE,
    READ_LATENCY,
    RESIDUAL_WRITE,
    ROW_BITS,
    VALUE_WRITE,
    Route,
    score_beat,
    tile_context,
)
from hw.vector.epilogue.epilogue import Epilogue
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until
from tests.hw.support.epilogue_scoreboard import Testbench

CONFIGS = {"nano": NANO, "zcu102": ZCU102, "serial4": replace(NANO, serialization=4),
           "serial8": replace(NANO, serialization=8)}
CFG = CONFIGS[os.environ.get("EPILOGUE_CFG", "nano")]
UNIT = Epilogue(CFG)
EXITS = {"residual": RESIDUAL_WRITE, "operand": OPERAND_WRITE, "key": KEY_WRITE, "value": VALUE_WRITE,
         "gate": GATE_BEAT, "score": score_beat(CFG)}


@pytest.mark.rtl
@pytest.mark.parametrize("config", list(CONFIGS))
def test_epilogue(config):
    run_bench(Epilogue(CONFIGS[config]), module=__name__, name=f"epilogue-{config}", env={"EPILOGUE_CFG": config})


class Bench:
    """Feeds the testbench's stimulus, models the residual memory, checks every output and every cycle."""

    def __init__(self, dut, tb: Testbench, *, stall=lambda: never, exit_stall=None):
        self.dut, self.tb = dut, tb
        self.beats = Source(dut, "i", drain_beat(CFG), stall=stall())
        self.contexts = Source(dut, "i_context", tile_context(CFG), stall=stall())
        self.lines = Source(dut, "i_param", LINE_BITS, stall=stall())
        shut_ = exit_stall or stall
        self.sinks = {name: Sink(dut, f"o_{name}", shape, stall=shut_()) for name, shape in EXITS.items()}
        self.reads = Sink(dut, "o_residual_read", ROW_BITS, stall=shut_())
        self.rows = [sum((int(x) & 0xFFFF) << 16 * n for n, x in enumerate(row)) for row in tb.initial]
        self.entered, self.retired, self.faults, self.cycle = [], [], 0, 0
        self.tasks = [cocotb.start_soon(self.watch())]

    async def watch(self) -> None:
        """The residual memory (a write is seen by reads 2 cycles later) and the counters of the bench."""
        dut, reads, writes = self.dut, [], []
        while True:
            await RisingEdge(dut.clk)
            if int(dut.i__valid.value) and int(dut.i__ready.value):
                self.entered.append(self.cycle)
            if int(dut.retire.value):
                self.retired.append({name: len(sink.values) for name, sink in self.sinks.items()})
            if int(dut.fault.value):
                self.faults += 1
                assert int(dut.fault_code.value) == Status.RANGE_LOCAL
            if int(dut.o_residual_read__valid.value) and int(dut.o_residual_read__ready.value):
                reads.append((self.cycle, int(dut.o_residual_read__payload.value)))
            if int(dut.o_residual__valid.value) and int(dut.o_residual__ready.value):
                writes.append((self.cycle, int(dut.o_residual__payload.value)))
            # A read of cycle t sees the writes of cycle t - 2 and is answered in cycle t + 2.
            while writes and writes[0][0] <= self.cycle - 2:
                bits = writes.pop(0)[1]
                row, mask, data = bits & 0xFFFF, bits >> 16 & 3, bits >> 18
                keep = sum(((1 << 256) - 1) << 256 * n for n in range(2) if mask >> n & 1)
                self.rows[row] = self.rows[row] & ~keep | data & keep
            answers = [(t, self.rows[row]) if isinstance(row, int) and t == self.cycle else (t, row)
                       for t, row in reads]
            reads = [(t, ("row", row) if t == self.cycle else row) for t, row in answers]
            due = [row[1] for t, row in reads if t == self.cycle + 1 - READ_LATENCY]
            reads = [(t, row) for t, row in reads if t > self.cycle + 1 - READ_LATENCY]
            await FallingEdge(dut.clk)
            dut.i_residual_row.value = due[0] if due else self.beats.rng.getrandbits(LINE_BITS)
            self.cycle += 1

    async def run(self, limit: int = 60_000) -> None:
        """Send everything, wait for everything, compare everything."""
        dut, s = self.dut, self.tb.stimulus
        feeds = [cocotb.start_soon(source.send(values)) for source, values in (
            (self.contexts, s.contexts), (self.lines, s.lines), (self.beats, s.beats))]
        self.tasks += feeds
        for feed in feeds:
            await feed
        await until(dut, lambda: len(self.retired) >= len(s.ends), limit, f"retirement {len(s.ends)}")
        await until(dut, lambda: int(dut.idle.value), 100, "idle")
        await cycles(dut, 40)
        for name, sink in self.sinks.items():
            got, expected = [_payload(name, value) for value in sink.values], s.out[name]
            for n, (g, e) in enumerate(zip(got, expected, strict=False)):
                assert g == e, f"o_{name}, transfer {n}:\n got      {g}\n expected {e}"
            assert len(got) == len(expected), f"o_{name}: {len(got)} transfers, expected {len(expected)}"
        # Scores and gate beats may overtake the instructions before theirs; nothing may lag.
        for n, (counts, needed) in enumerate(zip(self.retired, s.ends, strict=True)):
            for name, count in needed.items():
                early = name in ("score", "gate")
                assert counts[name] >= count if early else counts[name] == count, (
                    f"instruction {n} retired after {counts[name]} transfers of o_{name}, expected {count}")
        assert self.faults == s.refused, f"{self.faults} faults, expected {s.refused}"

    def stop(self) -> None:
        for task in (*self.tasks, self.reads.task, *(sink.task for sink in self.sinks.values())):
            task.cancel()


def _payload(name: str, value: dict) -> dict:
    """What matters of a write: the bits under its mask."""
    if name not in ("operand", "residual"):
        return value
    half_ = value["mask"] >> 1
    value = value | {"data": value["data"] >> 256 * half_ & (1 << 256) - 1}
    return value | ({"exp": value["exp"][half_]} if name == "operand" else {"half": half_})


async def play(dut, build, *, stall=lambda: never, exit_stall=None, salt="", begin=True) -> Bench:
    if begin:
        await start(dut)
    tb = Testbench(CFG, seeded(salt))
    coverage = SaturationCounters()
    with coverage.at(""):
        build(tb)
    bench = Bench(dut, tb, stall=stall, exit_stall=exit_stall)
    bench.coverage = {kind: (clipped, seen) for _, kind, clipped, seen in coverage.table()}
    await bench.run()
    bench.stop()
    return bench


def many(count: int):
    def build(tb):
        for _ in range(count):
            tb.random_instruction()
    return build


@cocotb.test()
async def matches_golden(dut):
    bench = await play(dut, many(120))
    found = bench.coverage
    print("coverage", found)
    for kind in ("u", "residual", "block", "wide", "key"):
        clipped, seen = found[kind]
        assert 0.01 < clipped / seen < 0.8, f"{kind}: {clipped} of {seen} clipped; the stimulus is not balanced."
    assert all(bench.tb.stimulus.out.values())
    assert {write["exp"] for write in bench.tb.stimulus.out["operand"]} == {0, 1, 2, 3}
    used = [context for context in bench.tb.stimulus.contexts if context.get("activation")]
    assert {context["act_shift"] for context in used} == set(range(ACT_SHIFT_MAX + 1))
    assert {context["activation"] for context in used} == set(range(1, len(BY_CODE)))
    maps = bench.tb.stimulus.maps
    for kind, count in (("below", sum(v < 0 for v in maps)), ("inside", sum(0 < v < 255 for v in maps)),
                        ("beyond", sum(v > 255 for v in maps))):
        assert count > len(maps) // 50 > 1, f"UNSIGNED8: {count} of {len(maps)} values {kind} 0..255"


@cocotb.test()
async def matches_golden_under_stalls(dut):
    for n, stall in enumerate((lambda: half, bursts)):
        await play(dut, many(16), stall=stall, salt=f"stall{n}", begin=n == 0)


def shut():
    """A policy that shuts for long enough to fill everything before it, then opens for a while."""
    state = {"cycle": 0}

    def policy(_):
        state["cycle"] += 1
        return state["cycle"] % 150 < 100

    return policy


@cocotb.test()
async def loses_nothing_while_the_exits_are_shut(dut):
    """Beats press in without a pause: the queues fill to the last place."""
    await play(dut, many(30), exit_stall=shut, salt="shut")


@cocotb.test()
async def reads_see_earlier_writes(dut):
    """Tiles that add to the same few rows, closer together than the pipeline is deep."""
    def build(tb):
        tb.residual = tb.residual[:CFG.tm]
        for n in range(40):
            tb.linear(Route.RESIDUAL, 1 + n % 3, 1, 1 + n % CFG.tm, accumulate=1, shift2=12, affine=1)

    for n, stall in enumerate((lambda: never, lambda: half)):
        await play(dut, build, stall=stall, salt=f"same{n}", begin=n == 0)


@cocotb.test()
async def latency_and_interval(dut):
    """One tile alone: the first transfer of each output after the promised number of cycles. Many: half a lane in
    ``serialization`` cycles; scores, a lane a cycle."""
    promised = {"key": UNIT.LATENCY, "value": UNIT.LATENCY, "operand": UNIT.LATENCY + CFG.serialization,
                "residual": UNIT.RESIDUAL_LATENCY, "score": UNIT.SCORE_LATENCY}
    routes = {"key": Route.KEY, "value": Route.VALUE, "operand": Route.OPERAND8, "residual": Route.RESIDUAL}
    for n, (name, latency) in enumerate(promised.items()):
        def build(tb, name=name):
            if name == "score":
                tb.attention(1, 1, 1, 32, CFG.tm, False)
            else:
                tb.linear(routes[name], 1, 1, CFG.tm, accumulate=1, base=0, pitch=0)
        bench = await play(dut, build, begin=n == 0, salt=name)
        first = bench.sinks[name].times[0] - bench.entered[0] + (0 if name == "score" else 2 * CFG.serialization - 1)
        assert first == latency, f"o_{name} after {first} cycles, promised {latency}"
    for name, route in (("residual", Route.RESIDUAL), ("operand", Route.OPERAND16), ("operand", Route.OPERAND8),
                        ("operand", Route.UNSIGNED8), ("value", Route.VALUE), ("key", Route.KEY)):
        def build(tb, route=route):
            rows = itertools.cycle(range(len(tb.residual)))  # no row again while it is in flight
            tb.lanes = lambda count: [{"row": next(rows), "token": 3} for _ in range(count)]
            tb.linear(route, 4, 40 // CFG.tm, CFG.tm, accumulate=1, base=0, pitch=0)
        bench = await play(dut, build, begin=False, salt=name)
        # A load of the next tile's parameters is hidden by the groups of the one before.
        lanes, span = len(bench.entered), bench.entered[-1] - bench.entered[0]
        assert span == 2 * CFG.serialization * (lanes - 1), f"{route}: {lanes} lanes entered in {span} cycles"
        times = bench.sinks[name].times
        if route == Route.OPERAND16:
            highs, times = times, times[1::2]
            assert [high + 1 for high in highs[::2]] == times, "a low plane follows its high plane at once"
        span, interval = times[-1] - times[0], CFG.serialization * (2 if name == "operand" else 1)
        assert span == interval * (len(times) - 1), f"{route}: {len(times)} writes in {span} cycles"

    bench = await play(dut, lambda tb: tb.attention(1, 1, 1, 100, CFG.tm, False), begin=False, salt="scores")
    lanes = 4 * CFG.tm
    assert bench.entered[lanes - 1] - bench.entered[0] == lanes - 1
    times = bench.sinks["score"].times
    assert len(times) == 7 * CFG.tm and times[-1] - times[0] + 1 == len(times), "a half without a key takes no time"


@cocotb.test()
async def refuses_tiles_beyond_the_memory(dut):
    def build(tb):
        tb.linear(Route.KEY, 2, 2, CFG.tm, base=CFG.kv_tiles - 3, pitch=1)
        tb.linear(Route.VALUE, 2, 2, CFG.tm, base=min(1023, CFG.kv_tiles - 1), pitch=200)
        tb.linear(Route.RESIDUAL, 1, 1, CFG.tm)

    bench = await play(dut, build)
    assert 0 < bench.faults == bench.tb.stimulus.refused
    assert bench.tb.stimulus.out["key"] and bench.tb.stimulus.out["residual"]


@cocotb.test()
async def starts_afresh_after_a_reset(dut):
    await start(dut)
    tb = Testbench(CFG, seeded("cut"))
    many(6)(tb)
    bench = Bench(dut, tb, stall=lambda: half)
    cut = cocotb.start_soon(bench.run())
    await cycles(dut, 150)
    cut.cancel()
    bench.stop()
    for source in (bench.beats, bench.contexts, bench.lines):
        source.idle()
    await reset(dut)
    await play(dut, many(6), salt="again", begin=False)
