# SPDX-License-Identifier: Apache-2.0
"""Strip reader: requests the operand rows of two source lines, column by column."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.dma.upsample.line_pairs import LINE_PAIR, ROWS_BITS, WIDTH_BITS
from hw.interfaces import ROW_BITS


class StripReader(wiring.Component):
    """Strip reader: of each column of a line pair first the top row, then the bottom row, also where they are the same.

    ::

        i -> [at] -> o,  at <- other, other <- at + rows

    Timing: LATENCY cycles from ``i`` to the first request; II = 1 row; one cycle without a request between two pairs.
    Domain: ``rows``, ``width`` of legal strips, stable while a pair is read.
    Reference model: none, it computes addresses.

    Members: ``i`` In(stream of LINE_PAIR); ``rows``, ``width`` In, of the strip; ``o`` Out(stream of row).
    """

    LATENCY = 1
    II = 1

    i: stream.Interface
    rows: Signal
    width: Signal
    o: stream.Interface

    def __init__(self):
        super().__init__({"i": In(stream.Signature(LINE_PAIR)), "rows": In(ROWS_BITS), "width": In(WIDTH_BITS),
                          "o": Out(stream.Signature(ROW_BITS))})

    def elaborate(self, platform):
        m = Module()
        other, below, columns = Signal(ROW_BITS), Signal(), Signal(WIDTH_BITS)
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                self.o.valid.eq(1), self.o.payload.eq(self.i.payload.top), other.eq(self.i.payload.bottom),
                below.eq(0), columns.eq(self.width - 1),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self.o.payload.eq(other), other.eq(self.o.payload + self.rows), below.eq(~below)]
            with m.If(below):
                m.d.sync += columns.eq(columns - 1)
                with m.If(columns == 0):
                    m.d.sync += self.o.valid.eq(0)
        return m
