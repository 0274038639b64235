# SPDX-License-Identifier: Apache-2.0
"""Exponentials of the gate: scaled logits become powers of two below their token's reference, and a total."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MAX_EXPERTS
from golden.spec.tables import LOG2_FRAC
from hw.arith.exp2 import DISTANCE_BITS, EXPONENTIAL_BITS, Exponential
from hw.arith.log2_score import REFERENCE
from hw.arith.trees import sum_tree
from hw.moe.gate_shapes import COUNT_BITS, GROUP, GROUP_BITS, POWERS, SCORES, SLOT_BITS, SLOTS, iterate_groups
from hw.moe.top_k import EXPERT_BITS
from hw.shapes import INSTRUCTION

STAGES = {"read": 1, "taken": 1, "distance": 1, "exponential": Exponential.LATENCY, "sum": (GROUP - 1).bit_length(),
          "total": 1}
TOTAL_BITS = EXPONENTIAL_BITS + EXPERT_BITS


class GatePowers(wiring.Component):
    """Gate exponentials: GROUP experts a cycle, token after token; with ``renormalise`` only the chosen ones count. ::

        scores, reference, set -> [m - ceil] -> [EXP, 3] -> powers of SLOTS tokens
                                                     \\-> [sum, 2] -> [total]

    Timing: LATENCY from a token's last group to ``total_valid``; II = 1 group. ``powers`` a cycle after their place.
    Domain: what GateScores gives.
    Reference model: ``golden.ops.gate.route``.
    Members: ``gate``, ``last_group``, ``scored``, ``selected`` In, tokens whose scores and choice are there; ``slot``,
    ``group`` Out -> ``scores``, ``reference``, ``set`` In; ``total``, ``total_valid`` Out; ``read_slot``,
    ``read_group`` In -> ``powers`` Out.
    """

    LATENCY = sum(STAGES.values())
    II = 1

    def __init__(self):
        super().__init__({
            "gate": In(INSTRUCTION[Opcode.GATE]), "last_group": In(GROUP_BITS), "scored": In(COUNT_BITS),
            "selected": In(COUNT_BITS), "slot": Out(SLOT_BITS), "group": Out(GROUP_BITS), "scores": In(SCORES),
            "reference": In(REFERENCE), "set": In(MAX_EXPERTS), "total": Out(TOTAL_BITS), "total_valid": Out(1),
            "read_slot": In(SLOT_BITS), "read_group": In(GROUP_BITS), "powers": Out(POWERS)})

    def elaborate(self, platform):
        m = Module()
        ready = Signal()
        at, pipe = iterate_groups(m, "power", STAGES, ready=ready, last_group=self.last_group)
        entry, done = pipe.at("entry"), pipe.at("exponential")
        m.d.comb += [ready.eq((self.scored != at) & (self.selected != at)), self.slot.eq(entry.slot),
                     self.group.eq(entry.group)]
        powers = self._exponentials(m, pipe)
        store = m.submodules.store = memory.Memory(shape=POWERS, init=[], depth=SLOTS << GROUP_BITS)
        write, read = store.write_port(), store.read_port()
        m.d.comb += [write.addr.eq(Cat(done.group, done.slot)), write.data.eq(powers), write.en.eq(done.valid),
                     read.addr.eq(Cat(self.read_group, self.read_slot)), self.powers.eq(read.data)]

        # Stage sum: of the group. Stage total: of the token.
        group_sum, beat = sum_tree(m, "sum", list(powers)), pipe.at("sum")
        total = Signal(TOTAL_BITS, reset_less=True)
        with m.If(beat.valid):
            m.d.sync += total.eq(Mux(beat.first, 0, total) + group_sum)
        m.d.comb += [self.total.eq(total), self.total_valid.eq(pipe.at("total").last)]
        return m

    def _exponentials(self, m, pipe):
        """Stages taken .. exponential: distance below the reference, the largest for an expert that does not count."""
        scores, reference = Signal(SCORES, reset_less=True), Signal(REFERENCE, reset_less=True)
        chosen = Signal(GROUP, reset_less=True)
        m.d.sync += [scores.eq(self.scores), reference.eq(self.reference),
                     chosen.eq(self.set.word_select(pipe.at("read").group, GROUP))]
        exponential = m.submodules.exponential = Exponential(GROUP)
        for k, score in enumerate(scores):
            whole = Signal(DISTANCE_BITS, name=f"distance_whole{k}", reset_less=True)
            fraction = Signal(LOG2_FRAC, name=f"distance_fraction{k}", reset_less=True)
            counts = score.live & (chosen[k] | ~self.gate.renormalise)
            m.d.sync += [whole.eq(Mux(counts, reference - score.whole, EXPONENTIAL_BITS)),
                         fraction.eq(score.fraction)]
            m.d.comb += [exponential.i[k].whole.eq(whole), exponential.i[k].fraction.eq(fraction)]
        return exponential.o
