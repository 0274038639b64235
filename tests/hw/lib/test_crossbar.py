# SPDX-License-Identifier: Apache-2.0
"""Crossbar: nothing is lost, changed or sent to another target; each client keeps its order for each target."""

import cocotb
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.lib.crossbar import Crossbar
from hw.lib.queue import Queue
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, seeded, start

CLIENTS, TARGETS, WIDTH = 3, 4, 24


class Registered(wiring.Component):
    """A crossbar whose targets register what they get, as they should; it has no register itself."""

    i: list[stream.Interface]
    o: list[stream.Interface]

    def __init__(self):
        super().__init__({"i": In(stream.Signature(WIDTH)).array(CLIENTS),
                          "o": Out(stream.Signature(WIDTH)).array(TARGETS)})

    def elaborate(self, platform):
        m = Module()
        crossbar = m.submodules.crossbar = Crossbar(WIDTH, CLIENTS, TARGETS, lambda payload: payload[:2])
        for n, client in enumerate(self.i):
            connect(m, flipped(client), crossbar.i[n])
        for n, target in enumerate(self.o):
            m.submodules[f"queue{n}"] = queue = Queue(WIDTH, 2)
            connect(m, crossbar.o[n], queue.i)
            connect(m, queue.o, flipped(target))
        return m


@pytest.mark.rtl
def test_crossbar():
    run_bench(Registered(), module=__name__)


@cocotb.test()
async def everything_arrives_where_it_should(dut):
    await start(dut)
    rng = seeded()
    for stall_in, stall_out in ((never, never), (half, bursts()), (never, half)):
        sent = [[number << 8 | client << 4 | rng.randrange(TARGETS) for number in range(400)]
                for client in range(CLIENTS)]
        sinks = [Sink(dut, f"o__{n}", WIDTH, stall=stall_out) for n in range(TARGETS)]
        feeds = [cocotb.start_soon(Source(dut, f"i__{n}", WIDTH, stall=stall_in).send(values))
                 for n, values in enumerate(sent)]
        for feed in feeds:
            await feed
        while sum(len(sink.values) for sink in sinks) < 400 * CLIENTS:
            await cycles(dut, 1)
        for target, sink in enumerate(sinks):
            for client, values in enumerate(sent):
                assert [v for v in sink.values if v >> 4 & 15 == client] == [v for v in values if v & 3 == target]
            sink.task.cancel()
        busy = {time for sink in sinks for time in sink.times}
        assert sum(len(sink.times) for sink in sinks) == 400 * CLIENTS > len(busy), "several targets in one cycle"


@cocotb.test()
async def the_first_client_goes_first(dut):
    await start(dut)
    sink = Sink(dut, "o__2", WIDTH)
    feeds = [cocotb.start_soon(Source(dut, f"i__{n}", WIDTH).send([n << 4 | 2] * 30)) for n in range(CLIENTS)]
    for feed in feeds:
        await feed
    await cycles(dut, 4)
    assert [value >> 4 for value in sink.values] == [0] * 30 + [1] * 30 + [2] * 30
    assert sink.times[-1] - sink.times[0] == 89, "one payload a cycle"
