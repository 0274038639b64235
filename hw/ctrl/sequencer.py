# SPDX-License-Identifier: Apache-2.0
"""Sequencer: issues the instructions of a job in order, each as soon as the units it waits for are empty."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import INSTRUCTION_BYTES, INSTRUCTIONS, UNIT, Opcode, Unit
from golden.spec.machine import MachineConfig
from hw.interfaces import ISSUE, TOKEN_BITS
from hw.moe.expert_queues import ARRIVALS_BITS, EXPERT_BITS
from hw.shapes import INSTRUCTION

READ_CYCLES = 2
"""Cycles from a program index to its instruction."""
HOLD = 4
"""Cycles after an issue in which a unit counts as busy, whatever its ``idle``."""
UNITS = {Unit.DMA: "o_dma", Unit.NORM: "o_norm", Unit.ARRAY: "o_array", Unit.GATE: "o_gate"}


class Sequencer(wiring.Component):
    """Sequencer: runs through the program once. EXPERTS repeats its body for each expert whose queue is not empty, in
    the order in which the queues got their first entries.

    ::

        program[index] -> [instruction] -> wait & busy == 0, its register free -> [o_dma | o_norm | o_array | o_gate]
                               \\-> EXPERTS: (gate empty) arrivals -> o_total; place -> arrival -> count -> body

    Each unit has an issue register, so a unit that is slow to accept does not stall the others. END
    finishes the job when every unit is empty. EXPERTS waits for the gate even when its ``wait`` does not include it.

    Timing: LATENCY cycles from a unit's ``idle`` to the issue of an instruction that waited for it; at least FETCH
    cycles from one instruction to the next.
    Domain: programs that passed ``hw.ctrl.checker``.
    Reference model: the main loop of ``golden.iss``.

    Members: ``start`` In; ``index`` Out, ``word`` In, READ_CYCLES later; ``o_dma``, ``o_norm``, ``o_array``, ``o_gate``
    Out(stream of ISSUE); ``idle`` In(4), in the order of ``isa.Unit``; ``arrivals`` In, experts with a queue; ``place``
    Out, ``arrival`` In, the expert of that place a cycle later; ``count_expert`` Out, ``count`` In, a cycle later;
    ``o_total`` Out(stream), how many places there are, for the weight prefetcher: the gate is finished; ``at`` Out,
    index last issued; ``retire`` Out, a pulse for each BEGIN, EXPERTS, END; ``finished`` Out, a pulse.
    """

    LATENCY = 2
    FETCH = 6

    start: Signal
    index: Signal
    word: Signal
    o_dma: stream.Interface
    o_norm: stream.Interface
    o_array: stream.Interface
    o_gate: stream.Interface
    idle: Signal
    arrivals: Signal
    place: Signal
    arrival: Signal
    count_expert: Signal
    count: Signal
    o_total: stream.Interface
    at: Signal
    retire: Signal
    finished: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "start": In(1), "index": Out(range(cfg.program_depth)), "word": In(8 * INSTRUCTION_BYTES),
            **{name: Out(stream.Signature(ISSUE)) for name in UNITS.values()},
            "idle": In(len(UNITS)), "arrivals": In(ARRIVALS_BITS), "place": Out(EXPERT_BITS),
            "arrival": In(EXPERT_BITS), "count_expert": Out(EXPERT_BITS), "count": In(TOKEN_BITS),
            "o_total": Out(stream.Signature(ARRIVALS_BITS)),
            "at": Out(16), "retire": Out(1), "finished": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        outputs = {unit: getattr(self, name) for unit, name in UNITS.items()}

        # Which units are busy: an instruction is in their issue register, just accepted, or in progress.
        busy = Signal(len(outputs))
        for i, out in enumerate(outputs.values()):
            hold = Signal(range(HOLD + 1), name=f"hold{i}")
            with m.If(out.valid & out.ready):
                m.d.sync += [out.valid.eq(0), hold.eq(HOLD)]
            with m.Elif(hold != 0):
                m.d.sync += hold.eq(hold - 1)
            m.d.sync += busy[i].eq(out.valid | ~self.idle[i] | (hold != 0))

        # The current instruction.
        issue, target, wait = Signal(ISSUE), Signal(len(outputs)), Signal(len(outputs))
        opcode = Signal(4)
        free = Signal()
        m.d.comb += free.eq(~(Cat(out.valid for out in outputs.values()) & target).any())
        experts = INSTRUCTION[Opcode.EXPERTS](issue.word)

        # The loop of EXPERTS.
        in_body, body_left, body_index = Signal(), Signal(4), Signal.like(self.index)
        total, place, limit = Signal(ARRIVALS_BITS), Signal(ARRIVALS_BITS), Signal(ARRIVALS_BITS)
        current, current_count, body = Signal(EXPERT_BITS), Signal(TOKEN_BITS), Signal(4)
        m.d.comb += [self.place.eq(place), self.count_expert.eq(current)]
        with m.If(self.o_total.ready):
            m.d.sync += self.o_total.valid.eq(0)

        cycles = Signal(range(READ_CYCLES + 1))
        m.d.sync += [self.retire.eq(0), self.finished.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [self.index.eq(0), cycles.eq(READ_CYCLES)]
                m.d.sync += [in_body.eq(0), current_count.eq(0), current.eq(0)]
                with m.If(self.start):
                    m.next = "FETCH"

            with m.State("FETCH"):
                m.d.sync += cycles.eq(cycles - 1)
                with m.If(cycles == 1):
                    m.next = "DECODE"
            with m.State("DECODE"):
                head = INSTRUCTION[Opcode.BEGIN](self.word)
                m.d.sync += [
                    issue.word.eq(self.word), issue.index.eq(self.index),
                    issue.expert.eq(current), issue.count.eq(current_count),
                    opcode.eq(head.opcode), wait.eq(head.wait), target.eq(0),
                ]
                m.next = "ISSUE"
                with m.Switch(head.opcode):
                    for code, unit in UNIT.items():
                        with m.Case(code):
                            m.d.sync += target.eq(unit)
                    with m.Case(Opcode.EXPERTS):
                        m.d.sync += wait.eq(head.wait | INSTRUCTIONS[Opcode.EXPERTS].waits)
                        m.next = "EXPERTS"
                    with m.Case(Opcode.END):
                        m.d.sync += wait.eq(~0)
                        m.next = "END"

            with m.State("ISSUE"):
                with m.If(~(busy & wait).any() & free):
                    for i, out in enumerate(outputs.values()):
                        with m.If(target[i]):
                            m.d.sync += [out.payload.eq(issue), out.valid.eq(1)]
                    m.d.sync += [self.at.eq(issue.index), self.retire.eq(opcode == Opcode.BEGIN)]
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [self.index.eq(self.index + 1), cycles.eq(READ_CYCLES), body_left.eq(body_left - 1)]
                m.next = "FETCH"
                with m.If(in_body & (body_left == 1)):
                    m.d.sync += place.eq(place + 1)
                    m.next = "SCAN"

            # EXPERTS: with the gate empty, send the prefetcher their number; then one pass over the body for
            # each.
            with m.State("EXPERTS"):
                m.d.sync += [
                    total.eq(self.arrivals), limit.eq(experts.experts), place.eq(0),
                    body.eq(experts.body), body_index.eq(self.index + 1),
                ]
                with m.If(~(busy & wait).any()):
                    m.d.sync += self.at.eq(issue.index)
                    m.next = "TOTAL"
            with m.State("TOTAL"):
                with m.If(~self.o_total.valid):
                    m.d.sync += [self.o_total.valid.eq(1), self.o_total.payload.eq(total)]
                    m.next = "SCAN"
            with m.State("SCAN"):
                m.d.sync += cycles.eq(READ_CYCLES)
                with m.If(place == total):
                    m.d.sync += [
                        in_body.eq(0), current_count.eq(0), current.eq(0), self.index.eq(body_index + body),
                        self.retire.eq(1),
                    ]
                    m.next = "FETCH"
                with m.Else():
                    m.next = "ARRIVAL"
            with m.State("ARRIVAL"):
                m.d.sync += current.eq(self.arrival)
                m.next = "COUNT"
                with m.If(self.arrival >= limit):
                    m.d.sync += place.eq(place + 1)
                    m.next = "SCAN"
            with m.State("COUNT"):
                m.d.sync += [
                    cycles.eq(Mux(cycles == 0, READ_CYCLES, cycles - 1)), current_count.eq(self.count), in_body.eq(1),
                    body_left.eq(body), self.index.eq(body_index),
                ]
                with m.If(cycles == 0):
                    m.next = "FETCH"

            with m.State("END"):
                with m.If(~(busy & wait).any()):
                    m.d.sync += [self.at.eq(issue.index), self.retire.eq(1), self.finished.eq(1)]
                    m.next = "IDLE"
        return m
