# SPDX-License-Identifier: Apache-2.0
"""Sequencer: issues the instructions of a job in order, each as soon as the units it waits for are empty."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import INSTRUCTION_BYTES, INSTRUCTIONS, UNIT, Opcode
from golden.spec.machine import MachineConfig
from hw.ctrl.issue_registers import UNITS, IssueRegisters
from hw.ctrl.program_pointer import READ_CYCLES, ProgramPointer
from hw.interfaces import ISSUE, TOKEN_BITS
from hw.moe.expert_queues import ARRIVALS_BITS, EXPERT_BITS
from hw.shapes import INSTRUCTION


class Current(NamedTuple):
    """The instruction in hand: what a unit gets of it, its opcode, the units it goes to and those it waits for."""

    issue: data.View
    opcode: Signal
    target: Signal
    wait: Signal


class Turn(NamedTuple):
    """Whose turn it is in EXPERTS: its place in the order of arrival, its number, how many tokens it has."""

    place: Signal
    expert: Signal
    count: Signal


class Sequencer(wiring.Component):
    """Sequencer: runs through the program once. EXPERTS repeats its body for each expert whose queue is not empty, in
    the order in which the queues got their first entries.

    ::

        program[index] -> [instruction] -> wait & busy == 0, its register free -> [IssueRegisters]
                               \\-> EXPERTS: (gate empty) arrivals -> o_total; place -> arrival -> count -> body

    END finishes the job when every unit is empty. EXPERTS waits for the gate even when its ``wait`` does not include
    it.

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
        units = m.submodules.units = IssueRegisters()
        for name in UNITS.values():
            wiring.connect(m, getattr(units, name), wiring.flipped(getattr(self, name)))
        pointer = ProgramPointer(m, self.index, first=0)
        now = Current(Signal(ISSUE, name="issue"), Signal(4, name="opcode"), Signal(len(UNITS), name="target"),
                      Signal(len(UNITS), name="wait"))
        turn = Turn(Signal(ARRIVALS_BITS, name="place"), Signal(EXPERT_BITS, name="current"),
                    Signal(TOKEN_BITS, name="current_count"))
        cycles, empty = Signal(range(READ_CYCLES + 1)), Signal()
        m.d.comb += [
            units.issue.eq(now.issue), units.target.eq(now.target), units.idle.eq(self.idle),
            empty.eq(~(units.busy & now.wait).any()), self.place.eq(turn.place), self.count_expert.eq(turn.expert),
        ]
        m.d.sync += [self.retire.eq(0), self.finished.eq(0)]
        with m.If(self.o_total.ready):
            m.d.sync += self.o_total.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                pointer.restart()
                m.d.sync += [cycles.eq(READ_CYCLES), turn.count.eq(0), turn.expert.eq(0)]
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += cycles.eq(cycles - 1)
                with m.If(cycles == 1):
                    m.next = "DECODE"
            with m.State("DECODE"):
                self._decode(m, now, turn)

            with m.State("ISSUE"):
                with m.If(empty & units.free):
                    m.d.comb += units.put.eq(1)
                    m.d.sync += [self.at.eq(now.issue.index), self.retire.eq(now.opcode == Opcode.BEGIN)]
                    m.next = "NEXT"
            with m.State("NEXT"):
                pointer.advance()
                m.d.sync += cycles.eq(READ_CYCLES)
                m.next = "FETCH"
                with m.If(pointer.at_body_end):
                    m.d.sync += turn.place.eq(turn.place + 1)
                    m.next = "SCAN"

            self._experts(m, now, empty, pointer, turn, cycles)
            with m.State("END"):
                with m.If(empty):
                    m.d.sync += [self.at.eq(now.issue.index), self.retire.eq(1), self.finished.eq(1)]
                    m.next = "IDLE"
        return m

    def _decode(self, m, now: Current, turn: Turn) -> None:
        """Take the word of the program memory; the opcode decides on the next state."""
        head = INSTRUCTION[Opcode.BEGIN](self.word)
        m.d.sync += [
            now.issue.word.eq(self.word), now.issue.index.eq(self.index),
            now.issue.expert.eq(turn.expert), now.issue.count.eq(turn.count),
            now.opcode.eq(head.opcode), now.wait.eq(head.wait), now.target.eq(0),
        ]
        m.next = "ISSUE"
        with m.Switch(head.opcode):
            for code, unit in UNIT.items():
                with m.Case(code):
                    m.d.sync += now.target.eq(unit)
            with m.Case(Opcode.EXPERTS):
                m.d.sync += now.wait.eq(head.wait | INSTRUCTIONS[Opcode.EXPERTS].waits)
                m.next = "EXPERTS"
            with m.Case(Opcode.END):
                m.d.sync += now.wait.eq(~0)
                m.next = "END"

    def _experts(self, m, now: Current, empty, pointer: ProgramPointer, turn: Turn, cycles) -> None:
        """States of EXPERTS: with the gate empty, send the prefetcher the number of experts; then one pass over the
        body for each, SCAN .. COUNT before it."""
        total, limit = Signal(ARRIVALS_BITS), Signal(ARRIVALS_BITS)
        experts = INSTRUCTION[Opcode.EXPERTS](now.issue.word)
        with m.State("EXPERTS"):
            pointer.note_body(experts.body)
            m.d.sync += [total.eq(self.arrivals), limit.eq(experts.experts), turn.place.eq(0)]
            with m.If(empty):
                m.d.sync += self.at.eq(now.issue.index)
                m.next = "TOTAL"
        with m.State("TOTAL"):
            with m.If(~self.o_total.valid):
                m.d.sync += [self.o_total.valid.eq(1), self.o_total.payload.eq(total)]
                m.next = "SCAN"
        with m.State("SCAN"):
            m.d.sync += cycles.eq(READ_CYCLES)
            with m.If(turn.place == total):
                pointer.leave_body()
                m.d.sync += [turn.count.eq(0), turn.expert.eq(0), self.retire.eq(1)]
                m.next = "FETCH"
            with m.Else():
                m.next = "ARRIVAL"
        with m.State("ARRIVAL"):
            m.d.sync += turn.expert.eq(self.arrival)
            m.next = "COUNT"
            with m.If(self.arrival >= limit):
                m.d.sync += turn.place.eq(turn.place + 1)
                m.next = "SCAN"
        with m.State("COUNT"):
            pointer.enter_body()
            m.d.sync += [cycles.eq(Mux(cycles == 0, READ_CYCLES, cycles - 1)), turn.count.eq(self.count)]
            with m.If(cycles == 0):
                m.next = "FETCH"
