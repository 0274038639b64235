# SPDX-License-Identifier: Apache-2.0
"""Block writer: quantizes blocks of 32 channels to bytes with a common exponent."""

from functools import reduce
from itertools import pairwise
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES, TN
from golden.spec.tables import BLOCK_SHIFT_MAX
from hw.interfaces import EXP_BITS
from hw.vector.requantize import V_BITS, each

BYTE = 8
WINDOW = BYTE + BLOCK_SHIFT_MAX + 1
"""Signed bits that are kept: a value that does not fit saturates under every exponent."""


class BlockWriter(wiring.Component):
    """Block quantizer: ``e`` = smallest exponent for which the 32 values of a block fit int8,
    ``byte = sat8(rsh(v, e))`` (golden/README.md, Operands). ::

        v -> [flags: which exponents are too small for these] -> ... -> [ ] -> [e | (2 v) >> e] -> [byte, e]
                                               flags of the block's later parts -^

    A block is ``parts`` = 32 / ``lanes`` parts, one a cycle; each waits until the last one's flags are known.
    Timing: free-running, ``byte`` and ``exp`` follow ``v`` by LATENCY = parts + 2 cycles. II = 1.
    Domain: 17-bit values. The parts of a block come in consecutive cycles; ``later`` is 0 with the first only.
    Reference model: ``golden.ops.arith.block_quantize``.

    Members: ``v`` In(each lane), ``later`` In, ``byte`` Out(each lane), ``exp`` Out.
    """

    II = 1

    v: data.View
    later: Signal
    byte: data.View
    exp: Signal

    def __init__(self, lanes: int = LANES):
        self.parts = TN // lanes
        self.LATENCY = self.parts + 2
        super().__init__({"v": In(each(lanes, signed(V_BITS))), "later": In(1), "byte": Out(each(lanes, signed(BYTE))),
                          "exp": Out(EXP_BITS)})

    def elaborate(self, platform):
        m = Module()
        shape = data.StructLayout({"later": 1, "small": unsigned(BLOCK_SHIFT_MAX)})

        # Stage 1: bit e of `small`: exponent e is too small for one of these. The stages up to `parts` wait.
        flags = [Signal(shape, name=f"s{stage + 1}") for stage in range(self.parts)]
        m.d.sync += [flags[0].later.eq(self.later), *(after.eq(before) for before, after in pairwise(flags))]
        m.d.sync += [flags[0].small[e].eq(Cat(_too_big(value, e) for value in self.v).any())
                     for e in range(BLOCK_SHIFT_MAX)]
        waiting = []
        for n, value in enumerate(self.v):
            stages = [Signal(signed(WINDOW), name=f"s{stage + 1}_v_{n}", reset_less=True)
                      for stage in range(self.parts)]
            m.d.sync += [stages[0].eq(_clip(value, WINDOW)), *(after.eq(before) for before, after in pairwise(stages))]
            waiting.append(stages[-1])

        # The next stage: the first part is here while the last is in stage 1; the others use the exponent of the first.
        exp, next_exp = Signal(EXP_BITS), Signal(EXP_BITS)
        block = reduce(or_, (part.small for part in flags))
        m.d.comb += exp.eq(Mux(flags[-1].later, next_exp, Mux(block[2], 3, Mux(block[1], 2, block[0]))))
        m.d.sync += next_exp.eq(exp)
        m.d.sync += self.exp.eq(next_exp)
        for n, value in enumerate(waiting):
            moved = Signal(signed(WINDOW + 1), name=f"moved_{n}", reset_less=True)
            m.d.sync += moved.eq(Cat(0, value).as_signed() >> exp)

            # The last stage: round half up, saturate.
            rounded = Signal(signed(WINDOW + 1), name=f"rounded_{n}")
            m.d.comb += rounded.eq((moved >> 1) + moved[0])
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
