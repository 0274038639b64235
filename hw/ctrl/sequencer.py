# SPDX-License-Identifier: Apache-2.0
"""Issues the instructions of a job in order, each as soon as the units it waits for are empty."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import INSTRUCTION_BYTES, Opcode, Unit
from golden.spec.machine import MAX_EXPERTS, MachineConfig
from hw.core.layouts import ISSUE, TOKEN_BITS
from hw.shapes import INSTRUCTION

READ_CYCLES = 2
"""From a program index to its instruction."""
HOLD = 4
"""Cycles after an issue in which a unit counts as busy whatever its ``idle`` says."""
TARGET = {
    Opcode.LOAD: Unit.DMA, Opcode.STORE: Unit.DMA, Opcode.COPY: Unit.DMA, Opcode.NORM: Unit.NORM,
    Opcode.LINEAR: Unit.ARRAY, Opcode.ATTENTION: Unit.ARRAY, Opcode.GATE: Unit.GATE,
}
UNITS = {Unit.DMA: "o_dma", Unit.NORM: "o_norm", Unit.ARRAY: "o_array", Unit.GATE: "o_gate"}


class Sequencer(wiring.Component):
    """Walks the program once. EXPERTS repeats its body for each expert whose queue is not empty, ascending.

    ::

        program[index] -> [instruction] -> wait & busy == 0, its register free -> [o_dma | o_norm | o_array | o_gate]
                               \\-> EXPERTS: (gate empty) nonempty -> [mask] -> o_mask; lowest bit -> count -> body

    Each unit has a register of its own in front, so a unit that is slow to accept does not hold up the others. END
    finishes the job when every unit is empty. EXPERTS waits for the gate even when its ``wait`` does not say so.

    Timing: LATENCY cycles from a unit's ``idle`` to the issue of what waited for it; FETCH cycles at least from one
    instruction to the next.
    Domain: programs that passed ``hw.ctrl.checker``.
    Twin: the main loop of ``golden.iss``.

    Members: ``start`` In; ``index`` Out, ``word`` In, READ_CYCLES later; ``o_dma``, ``o_norm``, ``o_array``, ``o_gate``
    Out(stream of ISSUE); ``idle`` In(4), in the order of ``isa.Unit``; ``nonempty`` In, ``count_expert`` Out, ``count``
    In, a cycle later; ``o_mask`` Out(stream), experts to be walked; ``at`` Out, index last issued; ``retire`` Out, a
    pulse for each BEGIN, EXPERTS, END; ``finished`` Out, a pulse.
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
    nonempty: Signal
    count_expert: Signal
    count: Signal
    o_mask: stream.Interface
    at: Signal
    retire: Signal
    finished: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "start": In(1), "index": Out(range(cfg.program_depth)), "word": In(8 * INSTRUCTION_BYTES),
            **{name: Out(stream.Signature(ISSUE)) for name in UNITS.values()},
            "idle": In(len(UNITS)), "nonempty": In(MAX_EXPERTS), "count_expert": Out(6), "count": In(TOKEN_BITS),
            "o_mask": Out(stream.Signature(MAX_EXPERTS)),
            "at": Out(16), "retire": Out(1), "finished": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        outputs = {unit: getattr(self, name) for unit, name in UNITS.items()}

        # Which units are busy: an instruction before them, just accepted, or in the works.
        busy = Signal(len(outputs))
        for i, out in enumerate(outputs.values()):
            hold = Signal(range(HOLD + 1), name=f"hold{i}")
            with m.If(out.valid & out.ready):
                m.d.sync += [out.valid.eq(0), hold.eq(HOLD)]
            with m.Elif(hold != 0):
                m.d.sync += hold.eq(hold - 1)
            m.d.sync += busy[i].eq(out.valid | ~self.idle[i] | (hold != 0))

        # The instruction at work.
        issue, target, wait = Signal(ISSUE), Signal(len(outputs)), Signal(len(outputs))
        opcode = Signal(4)
        free = Signal()
        m.d.comb += free.eq(~(Cat(out.valid for out in outputs.values()) & target).any())
        experts = INSTRUCTION[Opcode.EXPERTS](issue.word)

        # The loop of EXPERTS.
        in_body, body_left, body_index = Signal(), Signal(4), Signal.like(self.index)
        mask, current, body = Signal(MAX_EXPERTS), Signal(range(MAX_EXPERTS + 1)), Signal(4)
        current_count = Signal(TOKEN_BITS)
        m.d.comb += [self.count_expert.eq(current), self.o_mask.payload.eq(mask)]

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
                    for code, unit in TARGET.items():
                        with m.Case(code):
                            m.d.sync += target.eq(unit)
                    with m.Case(Opcode.EXPERTS):
                        m.d.sync += wait.eq(head.wait | Unit.GATE)
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
                    m.d.sync += [mask.eq(mask >> 1), current.eq(current + 1)]
                    m.next = "SCAN"

            # EXPERTS: freeze the mask, tell the walker, then one pass over the body for each bit.
            with m.State("EXPERTS"):
                m.d.sync += [
                    mask.eq(Cat(self.nonempty[e] & (e < experts.experts) for e in range(MAX_EXPERTS))),
                    body.eq(experts.body), body_index.eq(self.index + 1), current.eq(0),
                ]
                with m.If(~(busy & wait).any()):
                    m.d.sync += self.at.eq(issue.index)
                    m.next = "MASK"
            with m.State("MASK"):
                m.d.comb += self.o_mask.valid.eq(1)
                with m.If(self.o_mask.ready):
                    m.next = "SCAN"
            with m.State("SCAN"):
                m.d.sync += cycles.eq(READ_CYCLES)
                with m.If(mask == 0):
                    m.d.sync += [
                        in_body.eq(0), current_count.eq(0), current.eq(0), self.index.eq(body_index + body),
                        self.retire.eq(1),
                    ]
                    m.next = "FETCH"
                with m.Elif(mask[0]):
                    m.next = "COUNT"
                with m.Else():
                    m.d.sync += [mask.eq(mask >> 1), current.eq(current + 1)]
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
