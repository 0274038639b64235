# SPDX-License-Identifier: Apache-2.0
"""Weights of the gate: exponentials of the chosen experts divided by their total."""

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MAX_TOP_K
from golden.spec.tables import RECIPROCAL_BITS
from hw.arith.exp2 import EXPONENTIAL_BITS
from hw.arith.round_shift import LATENCY as ROUND_SHIFT_LATENCY
from hw.arith.round_shift import round_shift
from hw.interfaces import TOKEN_BITS
from hw.lib.pipeline import Pipeline, delay
from hw.moe.gate_shapes import COUNT_BITS, GROUP, GROUP_BITS, POWERS, SLOT_BITS, slot_of
from hw.moe.top_k import EXPERT_BITS
from hw.shapes import INSTRUCTION

DIVISION = data.StructLayout({"recip": unsigned(RECIPROCAL_BITS), "shift": unsigned(6)})
WEIGHT_BITS = 16
STAGES = {"chosen": 1, "read": 1, "power": 1, "product": 1, "rounded": ROUND_SHIFT_LATENCY, "weight": 1}


class GateWeights(wiring.Component):
    """Gate weights: one chosen expert every two cycles, token after token. ::

        i -> place -> [expert] -> [its power, 2] -> [x recip] -> [>> shift, 3] -> [clip] -> weight

    Timing: LATENCY from an expert's turn to ``valid``; II = 2.
    Domain: ``golden.spec.isa.LIMITS``.
    Reference model: ``golden.ops.gate.route``.
    Members: ``gate``, ``busy`` In; ``i`` In(stream DIVISION), one a token; ``finished`` Out, tokens done; ``slot``,
    ``place`` Out -> ``expert`` In; ``power_slot``, ``power_group`` Out -> ``powers`` In; ``valid``, ``o_expert``,
    ``o_token``, ``o_weight`` Out; ``ended`` Out, after the GATE's last weight.
    """

    LATENCY = sum(STAGES.values())
    II = 2

    def __init__(self):
        super().__init__({
            "gate": In(INSTRUCTION[Opcode.GATE]), "busy": In(1), "i": In(stream.Signature(DIVISION)),
            "finished": Out(COUNT_BITS), "slot": Out(SLOT_BITS), "place": Out(range(MAX_TOP_K)),
            "expert": In(EXPERT_BITS), "power_slot": Out(SLOT_BITS), "power_group": Out(GROUP_BITS),
            "powers": In(POWERS), "valid": Out(1), "o_expert": Out(EXPERT_BITS), "o_token": Out(TOKEN_BITS),
            "o_weight": Out(WEIGHT_BITS), "ended": Out(1)})

    def elaborate(self, platform):
        m = Module()
        pipe = self._places(m)
        beat, done = pipe.at("chosen"), pipe.at("weight")
        m.d.comb += [self.slot.eq(slot_of(self.finished)), self.power_slot.eq(beat.slot),
                     self.power_group.eq(self.expert[2:])]
        expert = delay(m, self.expert, pipe.cycles("chosen", "read"), "expert_read")
        power, product = Signal(EXPONENTIAL_BITS, reset_less=True), Signal(signed(33), reset_less=True)
        m.d.sync += [power.eq(Array(self.powers[k] for k in range(GROUP))[expert[:2]]),
                     product.eq(power * pipe.at("power").recip)]
        rounded, = round_shift(m, "rounded", [product], pipe.at("product").shift, WEIGHT_BITS + 2)
        weight = Signal(WEIGHT_BITS, reset_less=True)
        m.d.sync += weight.eq(Mux(rounded[WEIGHT_BITS:].any(), -1, rounded))
        m.d.comb += [self.valid.eq(done.valid), self.o_weight.eq(weight), self.o_token.eq(done.token),
                     self.o_expert.eq(delay(m, expert, pipe.cycles("read", "weight"), "expert_waits")),
                     self.ended.eq(delay(m, done.final, 2, "ended", reset_less=False))]
        return m

    def _places(self, m) -> Pipeline:
        """Places of a token while its division is there."""
        place, pause, token = self.place, Signal(), Signal(TOKEN_BITS)
        go, ends, last_place, last_token = Signal(), Signal(), Signal(range(MAX_TOP_K)), Signal(TOKEN_BITS)
        m.d.sync += [last_place.eq(self.gate.top_k - 1), last_token.eq(self.gate.tokens - 1), pause.eq(go)]
        m.d.comb += [go.eq(self.i.valid & ~pause), ends.eq(go & (place == last_place)), self.i.ready.eq(ends)]
        with m.If(go):
            m.d.sync += place.eq(Mux(ends, 0, place + 1))
        with m.If(ends):
            m.d.sync += [token.eq(token + 1), self.finished.eq(self.finished + 1)]
        with m.If(~self.busy):
            m.d.sync += token.eq(0)
        return Pipeline(m, "weigh", STAGES, flags={"valid": go, "final": ends & (token == last_token)}, tag={
            "token": (token + self.gate.first_token)[:TOKEN_BITS], "slot": slot_of(self.finished),
            "recip": self.i.payload.recip, "shift": self.i.payload.shift})
