# SPDX-License-Identifier: Apache-2.0
"""Reciprocal square root unit: two pipelined digit recurrences, one bit a stage, one result a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.tables import RSQRT_RADICAND_BITS
from hw.arith.reciprocal import divide_ones, leading
from hw.lib.pipeline import delay

ROOT_BITS = RSQRT_RADICAND_BITS // 2


class ReciprocalRoot(wiring.Component):
    """Reciprocal root ``r = (2**33 - 1) // isqrt(V * 4**j)``, 17 bits; ``V * 4**j`` lies in [2**32, 2**34).

    ::

        i.variance -> [ leading pairs of 0s, 32 and 16 ] [ 8, 4, 2 ] -> [ root bit ] x 16 -> [ ones - root ]
                   -> [ quotient bit ] x 16 -> o

    Timing: LATENCY = 35, II = 1; never stalls. ``o_valid`` follows ``i_valid`` by LATENCY.
    Domain: 1 <= variance < 2**52.
    Reference model: ``golden.ops.arith.rsqrt``.
    Members: ``i_valid``, ``i_variance`` In; ``o_valid``, ``o_r`` (17 bits), ``o_j`` (signed, -9..16) Out.
    """

    WIDTH = 52
    LATENCY = 2 + (ROOT_BITS - 1) + ROOT_BITS
    II = 1

    i_valid: Signal
    i_variance: Signal
    o_valid: Signal
    o_r: Signal
    o_j: Signal

    def __init__(self):
        super().__init__({"i_valid": In(1), "i_variance": In(unsigned(self.WIDTH)),
                          "o_valid": Out(1), "o_r": Out(ROOT_BITS), "o_j": Out(signed(6))})

    def elaborate(self, platform):
        m = Module()
        aligned, pairs = leading(m, "lead", self.i_variance, ((16, 8), (4, 2, 1)), unit=2)
        root = self._isqrt(m, aligned[self.WIDTH - RSQRT_RADICAND_BITS:])
        quotient = divide_ones(m, "step", root, ROOT_BITS)

        # In parallel with the recurrences: exponent and valid. With all leading pairs removed, V is shifted by 18 bits.
        exponent = pairs.as_unsigned() - (self.WIDTH - RSQRT_RADICAND_BITS) // 2
        exponent = delay(m, exponent[:6].as_signed(), self.LATENCY - 2, "exponent")
        valid = Signal(self.LATENCY)
        m.d.sync += valid.eq(Cat(self.i_valid, valid))
        m.d.comb += [self.o_valid.eq(valid[-1]), self.o_r.eq(quotient), self.o_j.eq(exponent)]
        return m

    @staticmethod
    def _isqrt(m, radicand):
        """``floor(sqrt(radicand))`` of a radicand in [2**32, 2**34), ROOT_BITS - 1 cycles later.

        The first pair is 1, 2 or 3: the root's first bit is 1 and the remainder pair - 1, which takes no stage.
        """
        root, remainder, left = Const(1, 1), radicand[-2:] - 1, radicand[:-2]
        remainder = remainder[:2]
        for stage in range(1, ROOT_BITS):
            brought = Cat(left[-2:], remainder)
            trial = Signal(len(brought) + 1, name=f"root{stage}_trial")
            m.d.comb += trial.eq(brought - Cat(Const(1, 2), root))
            fits = ~trial[-1]
            # A remainder never exceeds twice the root.
            s_root = Signal(stage + 1, name=f"root{stage}", reset_less=True)
            s_remainder = Signal(stage + 2, name=f"root{stage}_remainder", reset_less=True)
            m.d.sync += [s_root.eq(Cat(fits, root)), s_remainder.eq(Mux(fits, trial, brought))]
            if stage < ROOT_BITS - 1:
                s_left = Signal(len(left) - 2, name=f"root{stage}_left", reset_less=True)
                m.d.sync += s_left.eq(left[:-2])
                left = s_left
            root, remainder = s_root, s_remainder
        return root
