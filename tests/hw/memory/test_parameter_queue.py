# SPDX-License-Identifier: Apache-2.0
"""Parameter queue: every line of every record in order, nothing of what fills beats up; depth, rate, release, reset."""

import os
from dataclasses import replace

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.machine import NANO, NORM_PARAM_LINES, PARAM_LINES
from hw.interfaces import LINE_BITS
from hw.memory.parameter_queue import ParameterQueue
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start

pytestmark = pytest.mark.rtl
TWO_LINES = replace(NANO, ports=4, port_bytes=32)
CASES = {"one_line": (NANO, NORM_PARAM_LINES), "even": (TWO_LINES, PARAM_LINES), "odd": (TWO_LINES, NORM_PARAM_LINES),
         "single": (TWO_LINES, 1)}
CFG, RECORD = CASES[os.environ.get("QUEUE_CASE", "odd")]
LINES = 16
BEATS = CFG.whole_beats(RECORD) // CFG.beat_lines


def unit(case: str) -> ParameterQueue:
    cfg, record = CASES[case]
    return ParameterQueue(cfg, lines=LINES, record=record)


@pytest.mark.parametrize("case", CASES)
def test_parameter_queue(case):
    run_bench(unit(case), module=__name__, name=f"parameter_queue-{case}", env={"QUEUE_CASE": case})


def records(count: int, salt: str = "") -> tuple[list[int], list[int]]:
    """Stream beats of ``count`` records, filled up with noise, and the lines that are to come out."""
    rng = seeded(salt)
    beats, wanted = [], []
    for _ in range(count):
        lines = [rng.getrandbits(LINE_BITS) for _ in range(BEATS * CFG.beat_lines)]
        wanted += lines[:RECORD]
        beats += [sum(line << LINE_BITS * n for n, line in enumerate(lines[at:at + CFG.beat_lines]))
                  for at in range(0, len(lines), CFG.beat_lines)]
    return beats, wanted


@cocotb.test()
async def hands_out_the_lines_of_records(dut):
    await start(dut)
    for stall in (never, half, bursts()):
        beats, wanted = records(60)
        bits = CFG.beat_lines * LINE_BITS
        source, sink = Source(dut, "i", bits, stall=stall), Sink(dut, "o", LINE_BITS, stall=stall)
        feed = cocotb.start_soon(source.send(beats))
        assert await sink.receive(len(wanted)) == wanted
        await feed
        await cycles(dut, 5)
        assert len(sink.values) == len(wanted) and not int(dut.o__valid.value)
        sink.task.cancel()


@cocotb.test()
async def releases_each_beat_once_and_holds_what_it_says(dut):
    """As many beats as it holds are accepted without any release but of the one that is being handed out."""
    await start(dut)
    dut.o__ready.value = 0
    beats, wanted = records(LINES)
    source = Source(dut, "i", CFG.beat_lines * LINE_BITS)
    feed = cocotb.start_soon(source.send(beats))
    released = 0

    async def count():
        nonlocal released
        while True:
            await RisingEdge(dut.clk)
            released += int(dut.release.value)
            await FallingEdge(dut.clk)

    counting = cocotb.start_soon(count())
    await cycles(dut, 2 * LINES + 8)
    handed_out = int(CFG.beat_lines > 1)
    assert released == handed_out and not int(dut.i__ready.value)
    sink = Sink(dut, "o", LINE_BITS)
    assert await sink.receive(len(wanted)) == wanted
    await feed
    await cycles(dut, 4)
    assert released == len(beats)
    counting.cancel()


@cocotb.test()
async def a_line_a_cycle_and_its_latency(dut):
    await start(dut)
    beats, wanted = records(40)
    source, sink = Source(dut, "i", CFG.beat_lines * LINE_BITS), Sink(dut, "o", LINE_BITS)
    await cycles(dut, 3)
    begun = sink.cycle
    feed = cocotb.start_soon(source.send(beats))
    await sink.receive(len(wanted))
    await feed
    case = os.environ.get("QUEUE_CASE", "odd")
    assert sink.times[0] - begun == unit(case).LATENCY, sink.times[0] - begun
    gaps = [after - before for before, after in zip(sink.times, sink.times[1:], strict=False)]
    assert set(gaps) == {1}


@cocotb.test()
async def forgets_everything_on_reset(dut):
    await start(dut)
    dut.o__ready.value = 0
    source = Source(dut, "i", CFG.beat_lines * LINE_BITS)
    feed = cocotb.start_soon(source.send(records(LINES)[0]))
    await cycles(dut, 7)
    feed.cancel()
    source.idle()
    await reset(dut)
    assert not int(dut.o__valid.value)
    beats, wanted = records(3, "after")
    sink = Sink(dut, "o", LINE_BITS)
    await source.send(beats)
    assert await sink.receive(len(wanted)) == wanted
