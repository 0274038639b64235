# SPDX-License-Identifier: Apache-2.0
"""The sequencer: order, waits, EXPERTS for every kind of routing, retirement, the end only when all is empty."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.isa import UNIT, Opcode, Unit, decode, encode
from golden.spec.machine import NANO
from hw.ctrl.sequencer import READ_CYCLES, UNITS, Sequencer
from hw.interfaces import ISSUE
from sim.payload import unpack
from sim.runner import run_bench
from sim.streams import bursts, cycles, half, never, reset, seeded, start, until
from tests.hw.support.programs import PLAIN, program, random_word

pytestmark = pytest.mark.rtl
IDLE_LAG = 3
"""Cycles by which the bench's units show late that they are busy, or empty again."""


def test_sequencer():
    run_bench(Sequencer(NANO), module=__name__)


class Testbench:
    """Program memory, four units that take a while, a gate with its queues (their lengths by expert, in order of
    arrival), and a log of everything issued."""

    def __init__(self, dut, *, slow=0, stall=never):
        self.dut, self.slow, self.stall, self.rng = dut, slow, stall, seeded("tb")
        self.words, self.queues, self.totals_wait = [0], {}, False
        self.clear()
        self.task = cocotb.start_soon(self._run())

    def clear(self):
        self.issued, self.totals, self.retired, self.finished = [], [], 0, 0
        self.busy_until, self.pipe, self.cycle = dict.fromkeys(UNITS, 0), [0] * (READ_CYCLES - 1), 0
        self.spans = []

    async def _run(self):
        dut, outs = self.dut, {unit: name for unit, name in UNITS.items()}
        pins = {unit: [getattr(dut, f"{name}__{part}") for part in ("valid", "ready", "payload")]
                for unit, name in outs.items()}
        asked = place = 0
        held, idle = dict.fromkeys(UNITS), [0] * IDLE_LAG
        while True:
            # A busy unit does not accept; its idle follows through registers, when it falls as well.
            for unit, (_, ready, _) in pins.items():
                ready.value = int(self.cycle >= self.busy_until[unit] and not self.stall(self.rng))
            dut.o_total__ready.value = int(not self.totals_wait and not self.stall(self.rng))
            idle = [*idle[1:], sum(unit for unit in UNITS if self.cycle > self.busy_until[unit])]
            dut.idle.value = idle[0]
            order = list(self.queues)
            dut.arrivals.value = len(order)
            dut.arrival.value = order[place] if place < len(order) else self.rng.randrange(64)
            dut.count.value = self.queues.get(asked, 0)
            await RisingEdge(dut.clk)
            asked, place = int(dut.count_expert.value), int(dut.place.value)
            index = int(dut.index.value)
            self.pipe = [self.words[index] if index < len(self.words) else 0, *self.pipe]
            if int(dut.rst.value):
                held = dict.fromkeys(UNITS)
            for unit, (valid, ready, payload) in pins.items():
                if not int(valid.value):
                    assert held[unit] is None, f"{unit.name}: valid fell before the transfer."
                    continue
                bits = int(payload.value)
                assert held[unit] in (None, bits), f"{unit.name}: the payload changed while it waited."
                held[unit] = bits
                if int(ready.value):
                    held[unit] = None
                    self.busy_until[unit] = self.cycle + self.rng.randint(1, 1 + self.slow)
                    self.issued.append((unit, unpack(ISSUE, bits)))
                    self.spans.append((self.cycle, self.busy_until[unit]))
            if int(dut.o_total__valid.value) and int(dut.o_total__ready.value):
                self.totals.append(int(dut.o_total__payload.value))
            self.retired += int(dut.retire.value)
            if int(dut.finished.value):
                assert all(self.cycle > end for end in self.busy_until.values()), "END overtook a unit."
                self.finished += 1
            self.cycle += 1
            await FallingEdge(dut.clk)
            dut.word.value = self.pipe.pop()

    async def run(self, words, limit=20_000):
        """Run a program from its start to END; what was issued, in order."""
        self.clear()
        self.words = words
        self.dut.start.value = 1
        await cycles(self.dut, 1)
        self.dut.start.value = 0
        taken = await until(self.dut, lambda: self.finished, limit, "END")
        await cycles(self.dut, 30)
        assert self.finished == 1
        return taken


def expected(words, queues):
    """(unit, issue) in program order, totals handed over, and how many instructions the sequencer retires itself."""
    found, totals, own, position = [], [], 2, 1

    def issue(index, expert=0, count=0):
        found.append((UNIT[Opcode(words[index] & 15)],
                      {"word": words[index], "index": index, "expert": expert, "count": count}))

    while True:
        opcode, fields = decode(words[position])
        if opcode is Opcode.END:
            return found, totals, own
        if opcode is Opcode.EXPERTS:
            totals.append(len(queues))
            for e in (e for e in queues if e < fields["experts"]):
                for step in range(fields["body"]):
                    issue(position + 1 + step, e, queues[e])
            position += fields["body"]
            own += 1
        else:
            issue(position)
        position += 1


def by_unit(issued):
    return {unit: [issue for u, issue in issued if u == unit] for unit in UNITS}


def check(tb, words):
    found, totals, own = expected(words, tb.queues)
    assert by_unit(tb.issued) == by_unit(found) and tb.totals == totals and tb.retired == own


@cocotb.test()
async def issues_in_order_and_keeps_waits(dut):
    await start(dut)
    rng = seeded("programs")
    for slow in (0, 5, 60):
        for stall in (never, half, bursts()):
            tb = Testbench(dut, slow=slow, stall=stall)
            await reset(dut)
            words = program(NANO, [random_word(rng, rng.choice((*PLAIN, Opcode.UPSAMPLE)),
                                               wait=rng.choice([0, 0, rng.randrange(16)]))
                                   for _ in range(40)])
            await tb.run(words)
            check(tb, words)
            # When an instruction is issued, everything older in the units it waits for is over.
            log = list(zip(tb.issued, tb.spans, strict=True))
            for (_, issue), (begun, _) in log:
                wait = decode(issue["word"])[1]["wait"]
                for (unit, older), (_, over) in log:
                    assert older["index"] >= issue["index"] or not unit & wait or over < begun, (issue, older)
            tb.task.cancel()


@cocotb.test()
async def waits_for_its_own_unit(dut):
    """An instruction that waits for the unit it goes to is not even offered before that unit is empty."""
    await start(dut)
    tb = Testbench(dut, slow=40)
    await reset(dut)
    words = program(NANO, [encode(Opcode.LINEAR, tiles=1, slices=1, wait=Unit.ARRAY)] * 10)
    taken = await tb.run(words)
    assert all(later > over for (_, over), (later, _) in zip(tb.spans, tb.spans[1:], strict=False))
    assert taken < 10 * 60
    check(tb, words)


@cocotb.test()
async def a_slow_unit_does_not_hold_up_the_others(dut):
    await start(dut)
    tb = Testbench(dut)
    await reset(dut)
    tb.busy_until[Unit.ARRAY] = 10_000
    linear, norm = encode(Opcode.LINEAR, tiles=1, slices=1), encode(Opcode.NORM, tokens=1, blocks=1)
    tb.words = program(NANO, [linear, norm, norm])
    dut.start.value = 1
    await cycles(dut, 1)
    dut.start.value = 0
    await until(dut, lambda: len(tb.issued) == 2, 100, "both norms")
    assert all(unit is Unit.NORM for unit, _ in tb.issued)
    tb.busy_until[Unit.ARRAY] = 0
    await until(dut, lambda: tb.finished, 100, "END")


@cocotb.test()
async def keeps_its_latency(dut):
    await start(dut)
    tb = Testbench(dut)
    await reset(dut)
    tb.busy_until[Unit.DMA] = 200
    tb.words = program(NANO, [encode(Opcode.NORM, tokens=1, blocks=1, wait=Unit.DMA)])
    dut.start.value = 1
    await cycles(dut, 1)
    dut.start.value = 0
    await cycles(dut, 50)
    seen = {}
    for edge in range(300):
        await RisingEdge(dut.clk)
        for event, happens in (("idle", int(dut.idle.value) & Unit.DMA), ("issue", int(dut.o_norm__valid.value))):
            if happens:
                seen.setdefault(event, edge)
    assert seen["issue"] - seen["idle"] == Sequencer.LATENCY, seen


@cocotb.test()
async def runs_bodies_for_every_routing(dut):
    await start(dut)
    rng = seeded("routing")
    tb = Testbench(dut, slow=10, stall=half)
    await reset(dut)
    everyone = range(64)
    routings = [{}, {0: 1}, {63: 4095}, {63: 7, 0: 5}, {5: 4095}, dict.fromkeys(everyone, 3),
                *({e: rng.randint(1, 4095) for e in rng.sample(everyone, rng.randint(1, 20))} for _ in range(8))]
    for queues in routings:
        tb.queues = queues
        for experts in (1, 16, 64):
            body = [random_word(rng, Opcode.LINEAR, wait=0) for _ in range(rng.choice([1, 2, 15]))]
            loop = encode(Opcode.EXPERTS, experts=experts, body=len(body), pitch=3)
            words = program(NANO, [random_word(rng, Opcode.LINEAR, wait=0), loop, *body, loop, *body,
                                   random_word(rng, Opcode.STORE, wait=0)])
            await tb.run(words, limit=60_000)
            check(tb, words)


@cocotb.test()
async def experts_wait_for_the_gate_even_unasked(dut):
    await start(dut)
    tb = Testbench(dut)
    await reset(dut)
    tb.words = program(NANO, [encode(Opcode.EXPERTS, experts=16, body=1), encode(Opcode.LINEAR, tiles=1, slices=1)])
    tb.busy_until[Unit.GATE] = 100
    dut.start.value = 1
    await cycles(dut, 1)
    dut.start.value = 0
    await cycles(dut, 80)
    assert not tb.totals
    tb.queues = {2: 9}  # filled just before the gate falls idle
    await until(dut, lambda: tb.finished, 200, "END")
    assert tb.totals == [1] and [issue["count"] for _, issue in tb.issued] == [9]


@cocotb.test()
async def a_total_waits_until_the_one_before_is_taken(dut):
    await start(dut)
    tb = Testbench(dut)
    await reset(dut)
    tb.queues, tb.totals_wait = {2: 9, 5: 1}, True
    body = encode(Opcode.LINEAR, tiles=1, slices=1)
    words = program(NANO, [encode(Opcode.EXPERTS, experts=16, body=1), body] * 2)
    running = cocotb.start_soon(tb.run(words))
    await cycles(dut, 300)
    assert not tb.totals and len(tb.issued) == 2, "the second EXPERTS began before the first one's total was taken"
    tb.totals_wait = False
    await running
    check(tb, words)


@cocotb.test()
async def works_again_after_a_reset_in_mid_program(dut):
    await start(dut)
    rng = seeded("reset")
    tb = Testbench(dut, slow=20, stall=half)
    tb.queues = {1: 4, 9: 2}
    body = [encode(Opcode.LINEAR, tiles=1, slices=1)] * 2
    words = program(NANO, [*body, encode(Opcode.EXPERTS, experts=16, body=2), *body, encode(Opcode.STORE, rows=1)])
    for _ in range(8):
        tb.words = words
        dut.start.value = 1
        await cycles(dut, 1)
        dut.start.value = 0
        await cycles(dut, rng.randint(1, 120))
        await reset(dut)
        await tb.run(words)
        check(tb, words)
