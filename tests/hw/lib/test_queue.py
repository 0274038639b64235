# SPDX-License-Identifier: Apache-2.0
"""Queues of every kind of depth: order, level, stalls, latency, a payload a cycle, reset."""

import gc
import os
import warnings

import cocotb
import pytest
from amaranth.hdl import signed
from amaranth.lib import data

from hw.lib.queue import Queue
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start

DEPTH = int(os.environ.get("QUEUE_DEPTH", "2"))
SHAPE = data.StructLayout({"number": 16, "sign": signed(5), "pair": data.ArrayLayout(signed(9), 2)})


@pytest.mark.rtl
@pytest.mark.parametrize("depth", [1, 2, 3, 64])
def test_queue(depth):
    run_bench(Queue(SHAPE, depth), module=__name__, name=f"queue-{depth}", env={"QUEUE_DEPTH": str(depth)})


def test_a_queue_holds_something():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Amaranth warns of the refused queue that it was never used
        with pytest.raises(ValueError, match="at least one"):
            Queue(8, 0)
        gc.collect()


def payloads(count: int) -> list[dict]:
    rng = seeded("payload")
    return [{"number": n, "sign": rng.randint(-16, 15), "pair": [rng.randint(-256, 255) for _ in range(2)]}
            for n in range(count)]


@cocotb.test()
async def keeps_order_and_counts(dut):
    await start(dut)
    for stall in (never, half, bursts()):
        values = payloads(300)
        source, sink = Source(dut, "i", SHAPE, stall=stall), Sink(dut, "o", SHAPE, stall=stall)
        feed = cocotb.start_soon(source.send(values))
        assert await sink.receive(len(values)) == values
        await feed
        await cycles(dut, 5)
        assert len(sink.values) == len(values) and int(dut.level.value) == 0
        sink.task.cancel()


@cocotb.test()
async def fills_to_its_depth(dut):
    await start(dut)
    dut.o__ready.value = 0
    source = Source(dut, "i", SHAPE)
    feed = cocotb.start_soon(source.send(payloads(DEPTH + 5)))
    await cycles(dut, DEPTH + 12)
    assert int(dut.level.value) == DEPTH and int(dut.o__valid.value) and not int(dut.i__ready.value)
    feed.cancel()
    source.idle()
    await reset(dut)
    assert int(dut.level.value) == 0 and not int(dut.o__valid.value)
    sink = Sink(dut, "o", SHAPE)
    await source.send(payloads(3))
    assert await sink.receive(3) == payloads(3)


@cocotb.test()
async def latency_and_interval(dut):
    await start(dut)
    unit = Queue(SHAPE, DEPTH)
    source, sink = Source(dut, "i", SHAPE), Sink(dut, "o", SHAPE)
    await cycles(dut, 3)
    begun = sink.cycle
    await source.send(payloads(50))
    await sink.receive(50)
    assert sink.times[0] - begun == unit.LATENCY
    assert sink.times[-1] - sink.times[0] == 49 * unit.II
