# SPDX-License-Identifier: Apache-2.0
"""Scaling of the gate: logits become scaled logits in log2 units; the largest of a token is its reference."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.tables import SCORE_BITS, SCORE_REFERENCE_MIN
from hw.arith.log2_score import REFERENCE, rounded_up
from hw.arith.round_shift import LATENCY as ROUND_SHIFT_LATENCY
from hw.arith.round_shift import round_shift
from hw.arith.trees import top_of_four
from hw.lib.pipeline import Pipeline
from hw.moe.gate_shapes import COUNT_BITS, GROUP, GROUP_BITS, SCORES, SLOT_BITS, SLOTS, iterate_groups
from hw.moe.top_k import LOGIT, LOGIT_ROW, TILE_BITS
from hw.shapes import INSTRUCTION

STAGES = {"read": 1, "picked": 1, "partial": 1, "product": 1, "shifted": ROUND_SHIFT_LATENCY, "score": 1, "top": 1,
          "reference": 1}
SPLIT = 20
"""Bits of a logit's low part: each part times a multiplier fits one 27 x 18 multiplier."""


class GateScores(wiring.Component):
    """Gate scaling: GROUP experts a cycle, token after token. ::

        row -> [group] -> [x multiplier, 2] -> [>>, 3] -> [ceil] -> [max] -> scores, references of SLOTS tokens

    Timing: LATENCY from a token's last group to ``scored``; II = 1 group. ``scores``, ``reference`` a cycle after
    their place.
    Domain: ``golden.spec.isa.LIMITS``.
    Reference model: ``golden.ops.gate.route``.
    Members: ``gate``, ``last_group``, ``loaded`` In; ``at`` Out, tokens whose logits were read; ``tile``, ``token`` Out
    -> ``row`` In; ``scored`` Out, tokens done; ``slot``, ``group`` In -> ``scores``, ``reference`` Out.
    """

    LATENCY = sum(STAGES.values()) + 1
    II = 1

    def __init__(self):
        super().__init__({
            "gate": In(INSTRUCTION[Opcode.GATE]), "last_group": In(GROUP_BITS), "loaded": In(COUNT_BITS),
            "at": Out(COUNT_BITS), "tile": Out(TILE_BITS), "row": In(LOGIT_ROW), "scored": Out(COUNT_BITS),
            "slot": In(SLOT_BITS), "group": In(GROUP_BITS), "scores": Out(SCORES), "reference": Out(REFERENCE)})

    def elaborate(self, platform):
        m = Module()
        ready = Signal()
        at, pipe = iterate_groups(m, "score", STAGES, ready=ready, last_group=self.last_group)
        m.d.comb += [ready.eq(self.loaded != at), self.at.eq(at), self.tile.eq(pipe.at("entry").group[2:])]
        scores = self._scores(m, pipe, self._scaled(m, pipe))
        reference = self._reference(m, pipe, scores)

        done, ends = pipe.at("score"), pipe.at("reference")
        score_store = m.submodules.scores = memory.Memory(shape=SCORES, init=[], depth=SLOTS << GROUP_BITS)
        reference_store = m.submodules.references = memory.Memory(shape=REFERENCE, depth=SLOTS, init=[])
        write, read = score_store.write_port(), score_store.read_port()
        m.d.comb += [write.addr.eq(Cat(done.group, done.slot)), write.data.eq(scores), write.en.eq(done.valid),
                     read.addr.eq(Cat(self.group, self.slot)), self.scores.eq(read.data)]
        write, read = reference_store.write_port(), reference_store.read_port()
        m.d.comb += [write.addr.eq(ends.slot), write.data.eq(reference), write.en.eq(ends.last),
                     read.addr.eq(self.slot), self.reference.eq(read.data)]
        m.d.sync += self.scored.eq(self.scored + ends.last)
        return m

    def _scaled(self, m, pipe: Pipeline) -> list[Signal]:
        """Stages picked .. shifted: the group out of its row; multiply in two parts; shift, round, clip."""
        products, group = [], pipe.at("read").group
        for k in range(GROUP):
            logit = Signal(LOGIT, name=f"picked{k}", reset_less=True)
            low = Signal(SPLIT + 16, name=f"partial_low{k}", reset_less=True)
            high = Signal(signed(LOGIT.width - SPLIT + 16), name=f"partial_high{k}", reset_less=True)
            product = Signal(signed(LOGIT.width + 16), name=f"product{k}", reset_less=True)
            m.d.sync += [
                logit.eq(Array(self.row[g * GROUP + k] for g in range(GROUP))[group[:2]]),
                low.eq(logit[:SPLIT] * self.gate.multiplier),
                high.eq(logit[SPLIT:].as_signed() * self.gate.multiplier),
                product.eq(Cat(low[:SPLIT], (high + low[SPLIT:])[:len(high)]).as_signed()),
            ]
            products.append(product)
        return round_shift(m, "t", products, self.gate.shift1, SCORE_BITS)

    def _scores(self, m, pipe: Pipeline, scaled: list[Signal]) -> data.View:
        """Stage score: whole part rounded up and fraction below it; experts beyond the last are as low as can be."""
        scores = Signal(SCORES, name="score", reset_less=True)
        for k, (score, value) in enumerate(zip(scores, scaled, strict=True)):
            live = Cat(Const(k, 2), pipe.at("shifted").group) < self.gate.experts
            ceiling, below = rounded_up(value)
            m.d.sync += [score.live.eq(live), score.fraction.eq(below),
                         score.whole.eq(Mux(live, ceiling, SCORE_REFERENCE_MIN))]
        return scores

    def _reference(self, m, pipe: Pipeline, scores: data.View) -> Signal:
        """Stage top: best of four. Stage reference: of the token so far."""
        top, beat = top_of_four(m, [score.whole for score in scores], "top"), pipe.at("top")
        reference = Signal(REFERENCE, name="best", reset_less=True)
        with m.If(beat.valid):
            m.d.sync += reference.eq(Mux(beat.first | (top > reference), top, reference))
        return reference
