# SPDX-License-Identifier: Apache-2.0
"""Gate against its reference models: choices, weights and queues for any routing, ties, both beat orders, pace, full
queues."""

import os

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.ops.arith import rsh
from golden.ops.gate import Gate as Record
from golden.ops.gate import combine, route
from golden.ops.queues import arrivals, fill
from golden.spec.isa import Opcode, encode
from golden.spec.machine import LANES, MACHINES
from golden.spec.status import Status
from golden.spec.tables import SCORE_BITS
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import GATE_BEAT, ISSUE, QUEUE_ENTRY
from hw.moe.gate import Gate
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until

CFG = MACHINES[os.environ.get("GATE_CFG", "nano")]


@pytest.mark.parametrize("config", ["nano", "zcu102"])
def test_gate(config):
    run_bench(Gate(MACHINES[config]), module=__name__, name=f"gate-{config}", env={"GATE_CFG": config})


class Case:
    """One GATE: accumulators s_high, s_low [N, E] whose logits fall where ``kind`` says, and the record."""

    def __init__(self, rng, tokens, experts, top_k, *, renormalise=None, kind="spread", append=False):
        self.tokens, self.experts, self.top_k, self.append = tokens, experts, top_k, append
        self.renormalise = rng.random() < 0.5 if renormalise is None else renormalise
        self.first_token = rng.randint(0, 500)
        gen = np.random.default_rng(rng.getrandbits(64))
        self.shift1 = rng.choice([0, 3, 16, 20, 30, 37])
        self.multiplier = rng.randint(1, 65535) if self.shift1 > 3 else rng.randint(1, 9)
        limit = {"spread": 1500, "tie": 2, "far": 60000, "beyond": 900_000, "one": 400, "close": 40,
                 "extreme": 1}[kind]
        t = gen.integers(-limit, limit + 1, (tokens, experts))
        if kind == "one":  # every token to the same expert
            t[:, rng.randrange(experts)] += 3000
        if kind == "tie":
            t *= 128
        logits = np.array([[(int(v) << self.shift1) // self.multiplier for v in row] for row in t], dtype=object)
        low = gen.integers(-(1 << 31), 1 << 31, (tokens, experts))
        if kind == "tie":
            low[:] = low[:, :1]
        high = np.array([[(int(v) - int(a)) >> 7 for v, a in zip(*rows, strict=True)]
                         for rows in zip(logits, low, strict=True)], dtype=object)
        self.high, self.low = np.clip(high, -(1 << 31), (1 << 31) - 1).astype(np.int64), low
        if kind == "extreme":  # the largest products that there are
            self.multiplier = 65535
            self.high, self.low = (gen.choice([-(1 << 31), (1 << 31) - 1], (tokens, experts)) for _ in range(2))

    def word(self) -> int:
        return encode(Opcode.GATE, tokens=self.tokens, first_token=self.first_token, experts=self.experts,
                      top_k=self.top_k, renormalise=int(self.renormalise), append=int(self.append),
                      multiplier=self.multiplier, shift1=self.shift1)

    def beats(self, rng, group: int) -> list[dict]:
        """``group`` 1: a token's tiles together; else tile 0 of ``group`` tokens, then tile 1 of these, ..."""
        tiles = -(-self.experts // LANES)
        found = []
        for first in range(0, self.tokens, group):
            for tile in range(tiles):
                for token in range(first, min(first + group, self.tokens)):
                    for low, part in enumerate((self.high, self.low)):
                        value = [int(v) for v in part[token, tile * LANES:(tile + 1) * LANES]]
                        value += [rng.randrange(-(1 << 31), 1 << 31) for _ in range(LANES - len(value))]
                        found.append({"value": value, "low": low, "tile": tile})
        return found

    def routed(self):
        record = Record(top_k=self.top_k, renormalise=self.renormalise, multiplier=self.multiplier, shift1=self.shift1)
        return route(combine(self.high, self.low), record)


class Bench:
    def __init__(self, dut, *, stall=never):
        self.dut, self.rng, self.retired, self.faults = dut, seeded("bench"), 0, 0
        self.issue, self.logits = Source(dut, "i", ISSUE, stall=stall), Source(dut, "i_logits", GATE_BEAT, stall=stall)
        self.traversal = Source(dut, "i_traverse", TRAVERSAL, stall=stall)
        self.entries = Sink(dut, "o_entry", QUEUE_ENTRY, stall=stall)
        self.queues, self.order = None, []
        self.task = cocotb.start_soon(self._watch())

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            live = not int(self.dut.rst.value)
            self.retired += int(self.dut.retire.value) and live
            if int(self.dut.fault.value) and live:
                self.faults += 1
                assert int(self.dut.fault_code.value) == Status.RANGE_LOCAL

    def stop(self):
        self.task.cancel()
        self.entries.task.cancel()

    async def feed(self, case, group):
        before = self.retired
        beats = cocotb.start_soon(self.logits.send(case.beats(self.rng, group)))
        try:
            await self.issue.send([{"word": case.word()}])
            assert not int(self.dut.idle.value)
            await until(self.dut, lambda: self.retired > before, 100_000, "retire")
            await until(self.dut, lambda: int(self.dut.idle.value), 3, "idle")
            assert beats.done(), "retired before all beats were taken"
        finally:
            beats.cancel()

    async def run(self, case: Case, *, group: int = 1, traversals: int = 1) -> None:
        await self.feed(case, group)
        kept = self.queues if case.append else None
        self.queues = fill(*case.routed(), case.experts, case.first_token, kept)
        self.order = arrivals(case.routed()[0], self.order if case.append else ())
        assert await self.arrived() == self.order
        for _ in range(traversals):
            for e in self.rng.sample(range(case.experts), case.experts):
                await self.check(e, self.queues[e])

    async def arrived(self):
        """Experts by place, as each reader sees them."""
        found = []
        for n in range(int(self.dut.o_arrivals.value)):
            self.dut.i_place__0.value = self.dut.i_place__1.value = n
            await FallingEdge(self.dut.clk)
            found.append(int(self.dut.o_arrival__0.value))
            assert int(self.dut.o_arrival__1.value) == found[-1]
        return found

    async def check(self, e, queue):
        self.dut.i_count_expert.value = e
        await FallingEdge(self.dut.clk)
        assert int(self.dut.o_count.value) == len(queue), f"count of expert {e}"
        if len(queue):
            before = len(self.entries.values)
            await self.traversal.send([{"expert": e}])
            got = (await self.entries.receive(before + len(queue), 20_000))[before:]
            expected = [{"token": int(t), "weight": int(w), "last": int(n == len(queue) - 1)}
                        for n, (t, w) in enumerate(zip(queue.tokens, queue.weights, strict=True))]
            assert got == expected, f"queue of expert {e}: {got}, expected {expected}"


SHAPES = [(16, 2), (16, 1), (1, 1), (3, 3), (17, 4), (64, 8), (8, 8), (33, 2), (5, 2), (64, 1)]
KINDS = ["spread", "tie", "far", "one", "close", "beyond", "extreme"]


def random_cases(rng, count):
    room = CFG.queue_depth
    return [Case(rng, rng.randint(1, min(30, room // k)), e, k, kind=KINDS[n % len(KINDS)])
            for n, (e, k) in ((n, SHAPES[n % len(SHAPES)]) for n in range(count))]


def coverage(cases):
    """What the stimulus exercises; a bench that stops exercising it fails."""
    ties = clipped = far = full = negative = 0
    for case in cases:
        logits = combine(case.high, case.low)
        ties += sum(len(set(row)) < len(row) for row in logits.tolist())
        raw = rsh(logits * case.multiplier, case.shift1)
        clipped += int(np.sum(np.abs(raw) > 1 << SCORE_BITS - 1))
        far += int(np.sum(np.abs(raw) > 1 << 15))
        negative += int(np.sum(raw < 0))
        full += int(np.sum(case.routed()[1] == 65535))
    print(f"coverage: {ties} tokens with ties, {clipped} scores clipped, {far} beyond 128 powers of two, "
          f"{negative} negative, {full} weights of 1")
    assert ties > 20 and clipped > 20 and far > 100 and negative > 100 and full > 5


@cocotb.test()
async def matches_golden(dut):
    await start(dut)
    rng = seeded()
    bench, cases = Bench(dut), random_cases(rng, 50)
    coverage(cases)
    for n, case in enumerate(cases):
        await bench.run(case, group=CFG.tm if n & 1 else 1, traversals=2 if n % 10 == 0 else 1)


@cocotb.test()
async def matches_golden_when_stalled(dut):
    await start(dut)
    rng = seeded()
    for stall in (half, bursts()):
        bench = Bench(dut, stall=stall)
        for n, case in enumerate(random_cases(rng, 10)):
            await bench.run(case, group=CFG.tm if n & 1 else 1)
        bench.stop()


@cocotb.test()
async def routes_extremes(dut):
    """All tokens to one expert, a whole queue memory of them; no token for most; equal logits; appended passes."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    many = min(CFG.queue_depth, 200)
    await bench.run(Case(rng, many, 16, 1, kind="one"))
    equal = Case(rng, 20, 40, 3)
    equal.high[:], equal.low[:] = -5, 77
    await bench.run(equal)
    assert await bench.arrived() == [0, 1, 2], "ties go to the lower index"
    await bench.run(Case(rng, 15, 16, 2))
    await bench.run(Case(rng, 15, 16, 2, append=True))
    await bench.run(Case(rng, 9, 16, 1, append=True, kind="one"))
    await bench.run(Case(rng, 4, 16, 2))


@cocotb.test()
async def keeps_its_pace(dut):
    """Cycles a token in steady state, and LATENCY from a token's last beat to its append."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    for experts, top_k in ((16, 2), (16, 1), (16, 4), (8, 2), (64, 2)):
        tiles = -(-experts // LANES)
        pace = max(top_k * (tiles + 2), -(-experts // 4), 2 * top_k, 2 * tiles)
        counts = (10, 40)
        took = []
        for tokens in counts:
            began = bench.entries.cycle
            await bench.feed(Case(rng, min(tokens, CFG.queue_depth // top_k), experts, top_k), 1)
            took.append(bench.entries.cycle - began)
        tokens = min(counts[1], CFG.queue_depth // top_k) - counts[0]
        assert (took[1] - took[0]) == pace * tokens, f"{experts} experts, top {top_k}: {(took[1] - took[0]) / tokens}"
    case = Case(rng, 1, 4, 1)
    await bench.issue.send([{"word": case.word()}])
    await bench.logits.send(case.beats(rng, 1))
    last = bench.entries.cycle - 1
    before = int(dut.o_round.value)
    await until(dut, lambda: int(dut.o_arrivals.value), 200, "an entry")
    assert int(dut.o_round.value) == before, "the round begins with its GATE, not with its first entry"
    # The append takes two cycles; its expert is marked after the second.
    assert bench.entries.cycle - last == Gate(CFG).LATENCY + 2, f"{bench.entries.cycle - last}"


@cocotb.test()
async def refuses_more_than_its_depth(dut):
    """A full queue memory drops the rest, says so for each, and goes on; the next GATE is exact."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    if CFG.queue_depth <= 512:
        case = Case(rng, CFG.queue_depth // 2 + 3, 16, 2)
        await bench.feed(case, 1)
        assert bench.faults == 6, f"{bench.faults} faults"
    await bench.run(Case(rng, 12, 16, 2))
    await bench.run(Case(rng, 5, 3, 2))


@cocotb.test()
async def starts_clean_after_reset(dut):
    await start(dut)
    rng = seeded()
    for cut in (5, 60, 120):
        bench = Bench(dut)
        task = cocotb.start_soon(bench.run(Case(rng, 20, 20, 3)))
        await cycles(dut, cut)
        task.cancel()
        await cycles(dut, 1)  # lets it stop driving
        dut.i__valid.value = dut.i_logits__valid.value = dut.i_traverse__valid.value = 0
        await reset(dut)
        assert int(dut.o_arrivals.value) == int(dut.o_round.value) == 0
        bench.stop()
        bench = Bench(dut)
        await bench.run(Case(rng, 7, 16, 2))
        await bench.run(Case(rng, 7, 64, 8))
        bench.stop()
