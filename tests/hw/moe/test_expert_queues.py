# SPDX-License-Identifier: Apache-2.0
"""Expert queues against lists: any routing, traversals again and again, a full memory, clearing, pace."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from golden.ops.queues import arrivals
from golden.spec.machine import MAX_EXPERTS, NANO
from golden.spec.status import Status
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import QUEUE_ENTRY
from hw.moe.expert_queues import APPEND, ExpertQueues
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start

DEPTH = NANO.queue_depth


def test_expert_queues():
    run_bench(ExpertQueues(NANO), module=__name__)


class Bench:
    """The unit compared with plain lists."""

    def __init__(self, dut, *, stall=never):
        self.dut, self.rng, self.faults = dut, seeded("bench"), 0
        self.appends = Source(dut, "i_append", APPEND, stall=stall)
        self.traversals = Source(dut, "i_traverse", TRAVERSAL, stall=stall)
        self.entries = Sink(dut, "o_entry", QUEUE_ENTRY, stall=stall)
        self.lists, self.order, self.round = [[] for _ in range(MAX_EXPERTS)], [], int(dut.o_round.value)
        self.tasks = [cocotb.start_soon(self._watch()), self.entries.task]
        dut.clear.value = dut.i_count_expert.value = dut.i_place__0.value = dut.i_place__1.value = 0

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.dut.fault.value) and not int(self.dut.rst.value):
                self.faults += 1
                assert int(self.dut.fault_code.value) == Status.RANGE_LOCAL

    def stop(self):
        for task in self.tasks:
            task.cancel()

    async def clear(self):
        self.dut.clear.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.clear.value = 0
        self.lists, self.order, self.round = [[] for _ in range(MAX_EXPERTS)], [], self.round + 1

    async def append(self, experts: list[int]):
        """One entry for each of ``experts``; what goes beyond the memory is dropped."""
        room = DEPTH - sum(map(len, self.lists))
        values = [{"expert": e, "token": self.rng.getrandbits(12), "weight": self.rng.getrandbits(16)} for e in experts]
        for value in values[:room]:
            self.lists[value["expert"]].append((value["token"], value["weight"]))
        self.order = arrivals(np.array([value["expert"] for value in values[:room]], int), self.order)
        await self.appends.send(values)
        await cycles(self.dut, 2)

    async def traversal(self, experts: list[int]):
        """Traverse the queues of ``experts`` one after the other; empty ones yield nothing."""
        before = len(self.entries.values)
        expected = [{"token": t, "weight": w, "last": int(n == len(self.lists[e]) - 1)}
                    for e in experts for n, (t, w) in enumerate(self.lists[e])]
        await self.traversals.send([{"expert": e} for e in experts])
        got = (await self.entries.receive(before + len(expected)))[before:]
        assert got == expected, next((n, g, e) for n, (g, e) in enumerate(zip(got, expected, strict=True)) if g != e)

    async def counts(self):
        assert (int(self.dut.o_arrivals.value), int(self.dut.o_round.value)) == (len(self.order), self.round)
        for n, e in enumerate(self.order):
            self.dut.i_place__0.value, self.dut.i_place__1.value = n, len(self.order) - 1 - n
            await FallingEdge(self.dut.clk)
            assert int(self.dut.o_arrival__0.value) == e, f"place {n}"
            assert int(self.dut.o_arrival__1.value) == self.order[len(self.order) - 1 - n], f"place {n} from the end"
        for e, queue in enumerate(self.lists):
            self.dut.i_count_expert.value = e
            await FallingEdge(self.dut.clk)
            assert int(self.dut.o_count.value) == len(queue), f"expert {e}"


@cocotb.test()
async def keeps_any_routing(dut):
    """Random routing, all to one, none for most; each queue traversed twice, in any order; cleared in a cycle."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    for experts in (16, 64, 1, 3):
        await bench.append([rng.randrange(experts) for _ in range(DEPTH // 2)])
        await bench.counts()
        await bench.traversal([rng.randrange(MAX_EXPERTS) for _ in range(40)])
        await bench.append([rng.randrange(experts) for _ in range(DEPTH // 2)])
        await bench.traversal(list(range(MAX_EXPERTS)) * 2)
        await bench.counts()
        await bench.clear()
        await bench.counts()
        await bench.traversal([0, 5])
    assert bench.faults == 0


@cocotb.test()
async def keeps_any_routing_when_stalled(dut):
    await start(dut)
    rng = seeded()
    for stall in (half, bursts()):
        bench = Bench(dut, stall=stall)
        await bench.clear()
        await bench.append([rng.randrange(9) for _ in range(DEPTH - 3)])
        await bench.traversal([rng.randrange(10) for _ in range(30)])
        bench.stop()


@cocotb.test()
async def appends_during_a_traversal(dut):
    """A traversal yields the entries that were there when it began; the next one yields all."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    await bench.append([rng.randrange(4) for _ in range(DEPTH // 2)])
    traversal = cocotb.start_soon(bench.traversal([2]))
    await cycles(dut, 4)
    await bench.append([rng.randrange(4) for _ in range(DEPTH // 4)])
    await traversal
    await bench.traversal([0, 1, 2, 3])


@cocotb.test()
async def faults_when_full(dut):
    """Each append beyond the depth is dropped and reported; what is there stays; clearing makes room again."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    await bench.append([rng.randrange(7) for _ in range(DEPTH)])
    assert bench.faults == 0
    await bench.append([3, 9, 3])
    assert bench.faults == 3
    await bench.counts()
    await bench.traversal(list(range(10)))
    await bench.clear()
    await bench.append([1, 2])
    await bench.traversal([1, 2])
    assert bench.faults == 3


@cocotb.test()
async def keeps_its_pace(dut):
    """An append every II cycles; a traversal's first entry after LATENCY, then one every TRAVERSAL_II."""
    await start(dut)
    bench = Bench(dut)
    began = bench.entries.cycle
    await bench.appends.send([{"expert": 1, "token": n, "weight": n} for n in range(20)])
    assert bench.entries.cycle - began == 19 * ExpertQueues.II + 1
    await cycles(dut, 2)
    await bench.traversals.send([{"expert": 1}])
    sent = bench.entries.cycle - 1
    await bench.entries.receive(20)
    times = bench.entries.times
    assert times[0] - sent == ExpertQueues.LATENCY, f"{times[0] - sent}"
    assert {b - a for a, b in zip(times, times[1:], strict=False)} == {ExpertQueues.TRAVERSAL_II}


@cocotb.test()
async def starts_clean_after_reset(dut):
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    await bench.append([rng.randrange(5) for _ in range(50)])
    await bench.traversals.send([{"expert": 1}])
    await cycles(dut, 7)
    await reset(dut)
    bench.stop()
    bench = Bench(dut)
    assert bench.round == 0
    await bench.counts()
    await bench.append([rng.randrange(5) for _ in range(50)])
    await bench.traversal([0, 1, 2, 3, 4])
