# SPDX-License-Identifier: Apache-2.0
"""Blocks of 32 channels as bytes with a common exponent."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES
from golden.spec.tables import BLOCK_SHIFT_MAX
from hw.core.layouts import EXP_BITS
from hw.core.requant import V_BITS, lanes

BYTE = 8
WINDOW = BYTE + BLOCK_SHIFT_MAX + 1
"""Signed bits that decide: what does not fit them saturates under every exponent."""


class Narrow(wiring.Component):
    """``e`` = smallest exponent for which the 32 values of a block fit int8, ``byte = sat8(rsh(v, e))``
    (golden/README.md, Operands). ::

        v -> [flags: which exponents are too small for these 16] -> [ ] -> [e | (2 v) >> e] -> [byte, e]
                                                  next beat's flags -^

    Timing: free-running, ``byte`` and ``exp`` follow ``v`` by LATENCY cycles. II = 1.
    Domain: 17-bit values. The beat with ``half`` = 1 follows the beat with ``half`` = 0 of its block at once.
    Twin: ``golden.ops.arith.narrow``.

    Members: ``v`` In(16 lanes), ``half`` In, ``byte`` Out(16 lanes), ``exp`` Out.
    """

    LATENCY = 4
    II = 1

    v: data.View
    half: Signal
    byte: data.View
    exp: Signal

    def __init__(self):
        super().__init__({"v": In(lanes(signed(V_BITS))), "half": In(1), "byte": Out(lanes(signed(BYTE))),
                          "exp": Out(EXP_BITS)})

    def elaborate(self, platform):
        m = Module()
        shape = data.StructLayout({"half": 1, "small": unsigned(BLOCK_SHIFT_MAX)})

        # Stage 1: bit e of `small`: exponent e is too small for one of the 16.
        s1, s2 = Signal(shape), Signal(shape)
        m.d.sync += [s1.half.eq(self.half), s2.eq(s1)]
        m.d.sync += [s1.small[e].eq(Cat(_too_big(value, e) for value in self.v).any()) for e in range(BLOCK_SHIFT_MAX)]
        s1_v, s2_v = ([Signal(signed(WINDOW), name=f"s{stage}_v_{n}", reset_less=True) for n in range(LANES)]
                      for stage in (1, 2))
        m.d.sync += [after.eq(_clip(before, WINDOW)) for before, after in zip(self.v, s1_v, strict=True)]
        m.d.sync += [after.eq(before) for before, after in zip(s1_v, s2_v, strict=True)]

        # Stage 3: half 0 is here while half 1 is in stage 1; half 1 takes the exponent that half 0 got.
        exp, s3_exp = Signal(EXP_BITS), Signal(EXP_BITS)
        both = s2.small | s1.small
        m.d.comb += exp.eq(Mux(s2.half, s3_exp, Mux(both[2], 3, Mux(both[1], 2, both[0]))))
        m.d.sync += s3_exp.eq(exp)
        m.d.sync += self.exp.eq(s3_exp)
        for n, value in enumerate(s2_v):
            s3_w = Signal(signed(WINDOW + 1), name=f"s3_w_{n}", reset_less=True)
            m.d.sync += s3_w.eq(Cat(0, value).as_signed() >> exp)

            # Stage 4: round half up, saturate.
            rounded = Signal(signed(WINDOW + 1), name=f"rounded_{n}")
            m.d.comb += rounded.eq((s3_w >> 1) + s3_w[0])
            m.d.sync += self.byte[n].eq(_clip(rounded, BYTE))
        return m


def _clip(value, bits: int):
    """Signed ``value`` saturated to ``bits`` bits."""
    top = value[bits - 1:]
    limit = Cat((~value[-1]).replicate(bits - 1), value[-1])
    return Mux(top.any() & ~top.all(), limit, value[:bits]).as_signed()


def _too_big(value, exponent: int):
    """Whether ``rsh(value, exponent)`` leaves int8."""
    high = (1 << (BYTE - 1)) << exponent
    half = 1 << exponent >> 1
    return (value < -high - half) | (value > high - half - 1)
