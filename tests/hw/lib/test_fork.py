# SPDX-License-Identifier: Apache-2.0
"""Fork: every branch gets everything in order, each at its own pace, within the lag that is allowed."""

import cocotb
import pytest

from hw.lib.fork import AHEAD, Fork
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, half, never, start

BRANCHES = 3


@pytest.mark.rtl
def test_fork():
    run_bench(Fork(16, BRANCHES), module=__name__)


@cocotb.test()
async def every_branch_gets_everything(dut):
    await start(dut)
    for stalls in ((never, never, never), (never, half, bursts()), (bursts(), bursts(), half)):
        sinks = [Sink(dut, f"o__{n}", 16, stall=stall) for n, stall in enumerate(stalls)]
        source = Source(dut, "i", 16)
        feed = cocotb.start_soon(source.send(range(500)))
        for sink in sinks:
            assert await sink.receive(500) == list(range(500))
        await feed
        took = sinks[0].times[-1] - sinks[0].times[0]
        assert took == 499 or stalls[0] is not never or stalls[1] is not never, "a payload a cycle"
        for sink in sinks:
            sink.task.cancel()


@cocotb.test()
async def a_branch_lags_by_so_much_and_no_more(dut):
    await start(dut)
    dut.o__1__ready.value = 0
    sinks = [Sink(dut, f"o__{n}", 16) for n in (0, 2)]
    source = Source(dut, "i", 16)
    feed = cocotb.start_soon(source.send(range(50)))
    await cocotb.triggers.Timer(500, "ns")
    assert [len(sink.values) for sink in sinks] == [AHEAD, AHEAD] and not feed.done()
    last = Sink(dut, "o__1", 16)
    assert await last.receive(50) == list(range(50))
    assert await sinks[0].receive(50) == list(range(50))
