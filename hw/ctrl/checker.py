# SPDX-License-Identifier: Apache-2.0
"""Instruction checker: refuses illegal instructions before anything of the program runs."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import FORMATS, INSTRUCTION_BYTES, INSTRUCTIONS, LIMITS, Opcode
from golden.spec.machine import MachineConfig
from golden.spec.status import Status
from hw.ctrl.bounds_check import BoundsChecker
from hw.lib.pipeline import delay
from hw.shapes import INSTRUCTION


class InstructionChecker(wiring.Component):
    """Instruction checker: checks each instruction after BEGIN, reports the first illegal one, ignores those after END.

    BAD_OPCODE: no such opcode, a second BEGIN, or EXPERTS or END inside a body of EXPERTS. BAD_FIELD: a field outside
    ``isa.LIMITS``, a reserved bit that is set, or fields that contradict each other. RANGE_LOCAL: a row beyond its
    memory.

    ::

        word -> [opcode, out of bounds?, reserved bits?, for each opcode] -> [body left] -> [wait] -> [ended] -> fault
            \\-> [BoundsChecker]-------------------------------------------------------------------'

    Timing: LATENCY cycles from ``valid`` to ``fault`` and ``ended``; II = 2.
    Domain: any word.
    Reference model: ``golden.iss.machine``, ``golden.iss.bounds_check``.

    Members: ``valid``, ``word``, ``at`` In; ``fault``, ``fault_code``, ``fault_index`` Out; ``ended`` Out, END came.
    """

    LATENCY = BoundsChecker.LATENCY + 1
    II = BoundsChecker.II

    valid: Signal
    word: Signal
    at: Signal
    fault: Signal
    fault_code: Signal
    fault_index: Signal
    ended: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "valid": In(1), "word": In(8 * INSTRUCTION_BYTES), "at": In(16),
            "fault": Out(1), "fault_code": Out(8), "fault_index": Out(16), "ended": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bounds = bounds = BoundsChecker(self.cfg)
        m.d.comb += [bounds.valid.eq(self.valid), bounds.word.eq(self.word)]

        # Stage 1: the rules of each opcode.
        s1_valid, s1_at, s1_opcode, s1_body = Signal(), Signal(16), Signal(4), Signal(4)
        s1_bad = Signal(16)
        m.d.sync += [
            s1_valid.eq(self.valid), s1_at.eq(self.at), s1_opcode.eq(self.word[:4]),
            s1_body.eq(INSTRUCTION[Opcode.EXPERTS](self.word).body),
        ]
        for opcode, layout in INSTRUCTION.items():
            view = layout(self.word)
            wrong = [self.word[FORMATS[opcode].used:].any()]
            for name, (low, high) in LIMITS.get(opcode, {}).items():
                field = view[name]
                if low > 0:
                    wrong.append(field < low)
                if high < (1 << len(field)) - 1:
                    wrong.append(field > high)
            m.d.sync += s1_bad[opcode].eq(reduce(or_, wrong))

        # Stage 2: its place in the program.
        body_left, unknown, misplaced = Signal(4), Signal(), Signal()
        known = sum(1 << opcode for opcode in INSTRUCTIONS)
        outside = [s1_opcode == opcode for opcode, record in INSTRUCTIONS.items() if not record.in_body]
        m.d.comb += [
            unknown.eq(~(known >> s1_opcode)[0]),
            misplaced.eq((s1_opcode == Opcode.BEGIN) | (body_left != 0) & reduce(or_, outside)),
        ]
        m.d.comb += bounds.body.eq(body_left != 0)
        with m.If(s1_valid):
            m.d.sync += body_left.eq(Mux(body_left != 0, body_left - 1, Mux(s1_opcode == Opcode.EXPERTS, s1_body, 0)))

        # Later stages: the bounds checker's result; END ends the check.
        checked = data.StructLayout({"valid": 1, "at": 16, "end": 1, "misplaced": 1, "bad": 1})
        now = Signal(checked, name="s2_checked")
        m.d.sync += [now.valid.eq(s1_valid), now.at.eq(s1_at), now.end.eq(s1_opcode == Opcode.END),
                     now.misplaced.eq(unknown | misplaced), now.bad.eq((s1_bad >> s1_opcode)[0])]
        now = delay(m, now, bounds.LATENCY - 2, "checked", reset_less=False)
        bad = now.bad | bounds.contradiction
        m.d.sync += self.fault.eq(0)
        with m.If(now.valid & ~self.ended):
            m.d.sync += [
                self.fault.eq(now.misplaced | bad | bounds.beyond), self.fault_index.eq(now.at), self.ended.eq(now.end),
                self.fault_code.eq(Mux(now.misplaced, Status.BAD_OPCODE,
                                       Mux(bad, Status.BAD_FIELD, Status.RANGE_LOCAL))),
            ]
        return m
