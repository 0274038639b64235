# SPDX-License-Identifier: Apache-2.0
"""First pass of the layer norm: sums of a token's channels and of their squares become what normalises it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from golden.spec.tables import NORMALIZED_FRAC
from hw.arith.rsqrt import ReciprocalRoot
from hw.arith.trees import sum_tree
from hw.interfaces import LINE_BITS
from hw.lib.pipeline import Pipeline, delay
from hw.shapes import INSTRUCTION
from hw.vector.layernorm.shapes import LEAST_SHIFT, ROOT, S1_SHAPE, S2_BITS, TOKENS, channels


def stages(cfg: MachineConfig) -> dict[str, int]:
    """Registers from a part to the variance of the token that it ends."""
    return {"squares": 1, "trees": exact_log2(channels(cfg)), "sums": 1, "products": 1, "wide": 1, "eps": 1,
            "difference": 1, "variance": 1}


class NormStatistics(wiring.Component):
    """``S1`` = sum of x and, of ``V = max(D * S2 - S1^2 + D^2 eps, 1)``, 1 / root; tokens in order. ::

        part -> [x^2] -> [sum trees] -> [S1, S2] -> [products] -> [V, 4] -> [1 / root] -> tables of TOKENS

    Timing: LATENCY from a token's last part to ``known``. II = 1 part. ``s1``, ``root`` a cycle after ``slot``.
    Domain: ``golden.spec.isa.LIMITS``.
    Reference model: ``golden.ops.layernorm.layernorm``.
    Members: ``norm``, ``part``, ``valid``, ``ends`` In; ``known`` Out, a pulse for each token; ``slot`` In -> ``s1``,
    ``root`` Out.
    """

    II = 1

    norm: data.View
    part: Signal
    valid: Signal
    ends: Signal
    known: Signal
    slot: Signal
    s1: Signal
    root: data.View

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.LATENCY = sum(stages(cfg).values()) + ReciprocalRoot.LATENCY + 1
        super().__init__({
            "norm": In(INSTRUCTION[Opcode.NORM]), "part": In(LINE_BITS // cfg.serialization), "valid": In(1),
            "ends": In(1), "known": Out(1), "slot": In(range(TOKENS)), "s1": Out(S1_SHAPE), "root": Out(ROOT)})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, "s", stages(self.cfg), flags={"valid": self.valid}, tag={"ends": self.ends})
        s1, s2 = self._sums(m, pipe)
        root = m.submodules.root_unit = ReciprocalRoot()
        beat = pipe.at("variance")
        m.d.comb += [root.i_valid.eq(beat.valid & beat.ends), root.i_variance.eq(self._variance(m, s1, s2))]

        # Tables: S1 as soon as it is known, the rest with the root.
        sums = m.submodules.sums = memory.Memory(shape=S1_SHAPE, depth=TOKENS, init=[])
        roots = m.submodules.roots = memory.Memory(shape=ROOT.size, depth=TOKENS, init=[])
        sum_port, root_port, beat = sums.write_port(), roots.write_port(), pipe.at("sums")
        sum_slot, root_slot, shift = Signal(range(TOKENS)), Signal(range(TOKENS)), Signal(5)
        m.d.comb += [
            sum_port.addr.eq(sum_slot), sum_port.data.eq(s1), sum_port.en.eq(beat.valid & beat.ends),
            shift.eq(33 - NORMALIZED_FRAC - LEAST_SHIFT - root.o_j + self.norm.normalized_shift),
            root_port.addr.eq(root_slot), root_port.data.eq(Cat(root.o_r, shift)), root_port.en.eq(root.o_valid),
        ]
        m.d.sync += [sum_slot.eq(sum_slot + sum_port.en), root_slot.eq(root_slot + root.o_valid),
                     self.known.eq(root.o_valid)]
        sum_read, root_read = sums.read_port(), roots.read_port()
        m.d.comb += [sum_read.addr.eq(self.slot), root_read.addr.eq(self.slot), self.s1.eq(sum_read.data),
                     self.root.as_value().eq(root_read.data)]
        return m

    def _sums(self, m, pipe: Pipeline) -> tuple[Signal, Signal]:
        """Stages squares, trees: of the part; S1's tree is ready a stage before S2's. Stage sums: (S1, S2)."""
        values = [self.part.word_select(k, 16).as_signed() for k in range(channels(self.cfg))]
        squares = [Signal(31, name=f"square{k}", reset_less=True) for k in range(len(values))]
        m.d.sync += [square.eq(x * x) for square, x in zip(squares, values, strict=True)]
        part_s1 = delay(m, sum_tree(m, "s1_tree", values), pipe.cycles(until="squares"), "part_s1")
        part_s2 = sum_tree(m, "s2_tree", squares)
        s1, s2 = Signal(S1_SHAPE, name="s1_sum", reset_less=True), Signal(S2_BITS, name="s2_sum", reset_less=True)
        beat, opens = pipe.at("trees"), Signal(init=1)
        with m.If(beat.valid):
            m.d.sync += [s1.eq(Mux(opens, 0, s1) + part_s1), s2.eq(Mux(opens, 0, s2) + part_s2), opens.eq(beat.ends)]
        return s1, s2

    def _variance(self, m, s1: Signal, s2: Signal) -> Signal:
        """Stages products .. variance: wide products in parts of at most 27 x 18 bits."""
        half, bits = S2_BITS // 2, ReciprocalRoot.WIDTH
        d_low, d_high = Signal(half + 6, reset_less=True), Signal(S2_BITS - half + 6, reset_less=True)
        s1_low, s1_high = s1[:13], s1[13:].as_signed()
        low_low, high_low, high_high = (Signal(26, reset_less=True), Signal(signed(27), reset_less=True),
                                        Signal(26, reset_less=True))
        wide_d_s2, wide_square, eps_sum, eps_square, difference, variance = (
            Signal(bits, name=name, reset_less=True)
            for name in ("wide_d_s2", "wide_square", "eps_sum", "eps_square", "difference", "variance"))
        m.d.sync += [
            d_low.eq(s2[:half] * self.norm.blocks), d_high.eq(s2[half:] * self.norm.blocks),
            low_low.eq(s1_low * s1_low), high_low.eq(s1_high * s1_low), high_high.eq(s1_high * s1_high),
            wide_d_s2.eq(Cat(Const(0, 5), d_low + (d_high << half))),
            wide_square.eq(Cat(low_low, high_high) + (high_low << 14)),
            eps_sum.eq(wide_d_s2 + self.norm.eps), eps_square.eq(wide_square),
            difference.eq(eps_sum - eps_square), variance.eq(difference | (difference == 0)),
        ]
        return variance
