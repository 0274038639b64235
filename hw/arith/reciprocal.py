# SPDX-License-Identifier: Apache-2.0
"""Reciprocal unit: pipelined restoring division, one bit a stage, one result a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.tables import RECIPROCAL_BITS
from hw.lib.pipeline import delay


def divide_ones(m, name: str, divisor, bits: int) -> Signal:
    """``(2**(2 * bits - 1) - 1) // divisor``, ``bits`` bits, ``bits`` cycles later, one division a cycle.

    The divisor lies in [2**(bits-1), 2**bits). The dividend is all ones: its first ``bits`` bits are never below the
    divisor, so the first quotient bit is 1 and its stage only subtracts; every further bit brings down a 1.
    """
    remainder, quotient = Signal(bits, name=f"{name}0_remainder", reset_less=True), Const(1, 1)
    s0_divisor = Signal(bits, name=f"{name}0_divisor", reset_less=True)
    m.d.sync += [remainder.eq(((1 << bits) - 1) - divisor), s0_divisor.eq(divisor)]
    divisor = s0_divisor
    for stage in range(1, bits):
        trial = Signal(bits + 2, name=f"{name}{stage}_trial")
        s_divisor = Signal(bits, name=f"{name}{stage}_divisor", reset_less=True)
        s_remainder = Signal(bits, name=f"{name}{stage}_remainder", reset_less=True)
        s_quotient = Signal(stage + 1, name=f"{name}{stage}_quotient", reset_less=True)
        brought = Cat(Const(1, 1), remainder)
        m.d.comb += trial.eq(brought - divisor)
        fits = ~trial[-1]
        m.d.sync += [s_remainder.eq(Mux(fits, trial, brought)), s_quotient.eq(Cat(fits, quotient)),
                     s_divisor.eq(divisor)]
        remainder, quotient, divisor = s_remainder, s_quotient, s_divisor
    return quotient


def leading(m, name: str, value, moves: tuple[tuple[int, ...], ...], unit: int = 1):
    """``value`` shifted left until its top ``unit`` bits are not all 0, and by how many units.

    ``moves`` are powers of two in units, descending, grouped by stage (a cycle each): a move is made when the bits it
    skips are 0.
    """
    width, count = len(value), []
    for stage, group in enumerate(moves):
        for move in group:
            skip = ~value[width - move * unit:].any()
            value = Mux(skip, Cat(Const(0, move * unit), value[:width - move * unit]), value)
            count.insert(0, skip)
        s_value = Signal(width, name=f"{name}{stage}_value", reset_less=True)
        s_count = Signal(len(Cat(count)), name=f"{name}{stage}_count", reset_less=True)
        m.d.sync += [s_value.eq(value), s_count.eq(Cat(count))]
        value, count = s_value, [s_count]
    return value, count[0]


class Reciprocal(wiring.Component):
    """Reciprocal ``R = (2**31 - 1) // Ln`` and ``length = bit_length(total)``, Ln = total shifted into [2**15, 2**16).

    In terms of golden/README.md: ``sh = length - 16``, so a softmax row shifts by ``23 + sh = length + 7`` and an
    expert weight by ``15 + sh = length - 1``.

    ::

        i.total -> [ leading 0s, 16 and 8 ] [ 4, 2, 1 ] -> [ 2**16 - 1 - Ln ] [ trial subtraction ] x 15 -> o

    Timing: LATENCY = 18, II = 1; never stalls. ``o_valid`` follows ``i_valid`` by LATENCY.
    Domain: totals from 1 to 2**width - 1; for 0 the result is undefined.
    Reference model: ``golden.ops.arith.reciprocal``.
    Members: ``i_valid``, ``i_total`` In; ``o_valid``, ``o_recip`` (16 bits), ``o_length`` Out.
    """

    WIDTH = 31
    LATENCY = 2 + RECIPROCAL_BITS
    II = 1

    i_valid: Signal
    i_total: Signal
    o_valid: Signal
    o_recip: Signal
    o_length: Signal

    def __init__(self):
        super().__init__({"i_valid": In(1), "i_total": In(unsigned(self.WIDTH)),
                          "o_valid": Out(1), "o_recip": Out(RECIPROCAL_BITS), "o_length": Out(6)})

    def elaborate(self, platform):
        m = Module()
        aligned, zeros = leading(m, "lead", self.i_total, ((16, 8), (4, 2, 1)))
        quotient = divide_ones(m, "step", aligned[self.WIDTH - RECIPROCAL_BITS:], RECIPROCAL_BITS)

        # In parallel with the division: bit length of the total, and valid.
        length = delay(m, (self.WIDTH - zeros)[:6], RECIPROCAL_BITS, "length")
        valid = Signal(self.LATENCY)
        m.d.sync += valid.eq(Cat(self.i_valid, valid))
        m.d.comb += [self.o_valid.eq(valid[-1]), self.o_recip.eq(quotient), self.o_length.eq(length)]
        return m
