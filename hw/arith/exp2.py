# SPDX-License-Identifier: Apache-2.0
"""Base-2 exponential of the distance below a reference: table for the fraction, shift for the whole part."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES
from golden.spec.tables import EXP_TABLE, EXPONENTIAL_BITS, LOG2_FRAC, SCORE_REFERENCE_MIN

DISTANCE_BITS = (-2 * SCORE_REFERENCE_MIN).bit_length()
"""Whole powers of two from a scaled logit up to a reference; both lie between SCORE_REFERENCE_MIN and its opposite."""
EXPONENT = data.StructLayout({"fraction": unsigned(LOG2_FRAC), "whole": unsigned(DISTANCE_BITS)})


class Exponential(wiring.Component):
    """Base-2 exponential: ``EXP[fraction] >> whole`` in each lane, 0 for a whole part of 16 or more.

    A distance f below the reference is ``256 * whole + fraction``; for a scaled logit t and a reference 256 m,
    ``whole = m - ceil(t / 256)`` and ``fraction = -t & 255``, so no wide subtraction is needed.

    ::

        i.fraction -> [ ROM, two lanes each ] [ output register ] -> >> whole [ o ]
        i.whole    -> [ min(., 16)          ] [                 ] ---^

    Timing: LATENCY = 3, II = 1; never stalls, results come LATENCY cycles after their operands.
    Domain: every input.
    Reference model: ``golden.ops.softmax.exp2_below``.
    Members: ``i`` In(EXPONENT a lane), ``o`` Out(16 bits a lane).
    """

    LATENCY = 3
    II = 1

    i: data.View
    o: data.View

    def __init__(self, lanes: int = LANES):
        if lanes % 2:
            raise ValueError(f"Lanes share a table in pairs; {lanes} is odd.")
        self.lanes = lanes
        super().__init__({"i": In(data.ArrayLayout(EXPONENT, lanes)),
                          "o": Out(data.ArrayLayout(unsigned(EXPONENTIAL_BITS), lanes))})

    def elaborate(self, platform):
        m = Module()
        for pair in range(self.lanes // 2):
            table = memory.Memory(shape=EXPONENTIAL_BITS, depth=len(EXP_TABLE), init=EXP_TABLE,
                                  attrs={"rom_style": "block"})
            m.submodules[f"table{pair}"] = table
            for lane in (2 * pair, 2 * pair + 1):
                # Stages 1 and 2: the table and its output register, in parallel the shift amount.
                port = table.read_port()
                s1_whole = Signal(5, name=f"s1_whole{lane}", reset_less=True)
                s2_whole, s2_base = (Signal(5, name=f"s2_whole{lane}", reset_less=True),
                                     Signal(EXPONENTIAL_BITS, name=f"s2_base{lane}", reset_less=True))
                whole = self.i[lane].whole
                m.d.comb += [port.addr.eq(self.i[lane].fraction), port.en.eq(1)]
                m.d.sync += [s1_whole.eq(Mux(whole >= EXPONENTIAL_BITS, EXPONENTIAL_BITS, whole)),
                             s2_whole.eq(s1_whole), s2_base.eq(port.data)]

                # Stage 3: shift.
                m.d.sync += self.o[lane].eq(s2_base >> s2_whole)
        return m
