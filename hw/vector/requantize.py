# SPDX-License-Identifier: Apache-2.0
"""Requantization of the epilogue: accumulator to 16 bits, and the affine step (gain and offset) after it."""

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.activations import ACT_IN_FRAC, ACT_OUT_FRAC, ACT_SHIFT_MAX
from golden.spec.isa import LIMITS, Opcode
from golden.spec.machine import LANES
from hw.arith import round_shift
from hw.lib.pipeline import delay

ACC_BITS, MULTIPLIER_BITS, SHIFT_BITS = 32, 16, 6
SPLIT = 16
"""Bits of the accumulator's low part; each part times the scale factor fits one 27 x 18 multiplier."""
G_BITS = 16 + ACT_SHIFT_MAX + ACT_OUT_FRAC - ACT_IN_FRAC
"""Input bits of the second multiplication: an activation adds up to four integer and five fraction bits to an int16. A
multiplier of 25 x 18 bits takes it and a factor."""
FACTOR_BITS = 17
"""Signed bits for an int16 gain or a uint16 expert weight."""
V_BITS = 17
"""Output of the epilogue's arithmetic: one bit more than any destination keeps, so that clipping here changes nothing
that the destination's own clipping would not change (``sat16(x + v)`` for an int16 x needs all 17)."""


def each(lanes: int, shape) -> data.ArrayLayout:
    return data.ArrayLayout(shape, lanes)


class Requantize(wiring.Component):
    """Requantize ``lanes`` accumulators a cycle: ``s = acc + bias``, ``u = sat16(rsh(s * multiplier, shift))``
    (golden/README.md, Linear). ::

        acc, bias -> [s] -> s low  * multiplier [p] -> + -> [product, 48 bits] -> round_shift, 3 stages [u]
        multiplier ------> [m] -> s high * multiplier [p] ---^

    Timing: free-running, ``o`` follows its inputs by LATENCY cycles, ``s`` by S_LATENCY. II = 1.
    Domain: every accumulator and bias (the sum wraps), ``shift`` 0..47 (isa.LIMITS).
    Reference model: ``golden.ops.epilogue.requantize``.

    Members: ``acc``, ``bias``, ``multiplier`` In(each lane), ``shift`` In; ``s``, ``o`` Out(each lane).
    """

    S_LATENCY = 1
    LATENCY = 3 + round_shift.LATENCY
    II = 1

    acc: data.View
    bias: data.View
    multiplier: data.View
    shift: Signal
    s: data.View
    o: data.View

    def __init__(self, lanes: int = LANES):
        assert LIMITS[Opcode.LINEAR]["shift1"][1] < 1 << SHIFT_BITS
        self.lanes = lanes
        accumulators = each(lanes, signed(ACC_BITS))
        super().__init__({
            "acc": In(accumulators), "bias": In(accumulators), "multiplier": In(each(lanes, unsigned(MULTIPLIER_BITS))),
            "shift": In(SHIFT_BITS), "s": Out(accumulators), "o": Out(each(lanes, signed(16))),
        })

    def elaborate(self, platform):
        m = Module()
        shift = delay(m, self.shift, 3, "shift")
        products = []
        for n in range(self.lanes):
            # Stage 1: bias.
            s1_s = Signal(signed(ACC_BITS), name=f"s1_s_{n}", reset_less=True)
            s1_multiplier = Signal(MULTIPLIER_BITS, name=f"s1_mult_{n}", reset_less=True)
            m.d.sync += [s1_s.eq(self.acc[n] + self.bias[n]), s1_multiplier.eq(self.multiplier[n])]
            m.d.comb += self.s[n].eq(s1_s)

            # Stage 2: partial products.
            s2_low = Signal(SPLIT + MULTIPLIER_BITS, name=f"s2_low_{n}", reset_less=True)
            s2_high = Signal(signed(ACC_BITS - SPLIT + MULTIPLIER_BITS), name=f"s2_high_{n}", reset_less=True)
            m.d.sync += [s2_low.eq(s1_s[:SPLIT] * s1_multiplier), s2_high.eq(s1_s[SPLIT:].as_signed() * s1_multiplier)]

            # Stage 3: the product.
            s3_product = Signal(signed(ACC_BITS + MULTIPLIER_BITS), name=f"s3_product_{n}", reset_less=True)
            m.d.sync += s3_product.eq(Cat(s2_low[:SPLIT], s2_high + s2_low[SPLIT:]))
            products.append(s3_product)

        # Stages 4 to 6.
        for n, result in enumerate(round_shift.round_shift(m, "u", products, shift, 16)):
            m.d.comb += self.o[n].eq(result)
        return m


class Affine(wiring.Component):
    """Affine step of ``lanes`` values: ``v = sat17(rsh(g * factor + offset, shift))`` (golden/README.md, Linear). ::

        g, factor -> * [product] -> + offset [sum] -> round_shift, 3 stages [v]

    A factor of 1 with offset 0 and shift 0 passes ``g``.
    Timing: free-running, ``o`` follows its inputs by LATENCY cycles. II = 1. The inputs come from registers.
    Domain: ``g`` 25 bits with an int16 ``factor``, int16 with a uint16 one; ``shift`` 0..40 (isa.LIMITS).
    Reference model: ``golden.ops.epilogue.affine`` and ``weighted``.

    Members: ``g``, ``factor``, ``offset`` In(each lane), ``shift`` In; ``o`` Out(each lane).
    """

    LATENCY = 2 + round_shift.LATENCY
    II = 1

    g: data.View
    factor: data.View
    offset: data.View
    shift: Signal
    o: data.View

    def __init__(self, lanes: int = LANES):
        self.lanes = lanes
        super().__init__({
            "g": In(each(lanes, signed(G_BITS))), "factor": In(each(lanes, signed(FACTOR_BITS))),
            "offset": In(each(lanes, signed(32))), "shift": In(SHIFT_BITS), "o": Out(each(lanes, signed(V_BITS))),
        })

    def elaborate(self, platform):
        m = Module()
        shift = delay(m, self.shift, 2, "shift")
        sums = []
        for n in range(self.lanes):
            # |g * factor| <= 2**39, so neither it nor the sum with an int32 needs the last bit that the widths give.
            s1_product = Signal(signed(G_BITS + FACTOR_BITS - 1), name=f"s1_product_{n}", reset_less=True)
            s1_offset = Signal(signed(32), name=f"s1_offset_{n}", reset_less=True)
            s2_sum = Signal(signed(G_BITS + FACTOR_BITS - 1), name=f"s2_sum_{n}", reset_less=True)
            m.d.sync += [
                s1_product.eq(self.g[n] * self.factor[n]), s1_offset.eq(self.offset[n]),
                s2_sum.eq(s1_product + s1_offset),
            ]
            sums.append(s2_sum)
        for n, result in enumerate(round_shift.round_shift(m, "v", sums, shift, V_BITS)):
            m.d.comb += self.o[n].eq(result)
        return m
