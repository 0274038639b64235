# SPDX-License-Identifier: Apache-2.0
"""Line pairs of a strip: the two source lines of each pair of result lines, and where all four begin."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from hw.interfaces import ROW_BITS
from hw.shapes import EDGES, INSTRUCTION

STRIP = INSTRUCTION[Opcode.UPSAMPLE]
ROWS_BITS, WIDTH_BITS = STRIP["rows"].width, STRIP["width"].width
LINE_PAIR = data.StructLayout({
    "top": ROW_BITS, "bottom": ROW_BITS,     # operand rows where the source lines begin
    "first": ROW_BITS, "second": ROW_BITS,   # and where the result lines begin
    "single": 1,                             # at an edge: top and bottom are the same line, there is no second result
    "last": 1,                               # of the strip
})


class LinePairs(wiring.Component):
    """Line pairs: between source lines y and y + 1 lie two result lines, 3/4 y + 1/4 (y + 1) and 1/4 y + 3/4 (y + 1);
    beyond an edge of the map lies one, a copy of the outermost line. A pair is emitted for each operand row of a
    position.

    ::

        strip -> [pitch * rows, result width * rows: shift and add] -> [pair: lines += those] -> [operand row: + 1] -> o

    Timing: LATENCY cycles from ``start`` to the first pair; then one a cycle, and two cycles between two pairs of
    lines.
    Domain: strips that passed the checker; ``strip`` is stable from the cycle after ``start`` until the last pair.
    Reference model: ``golden.ops.upsample``.

    Members: ``start`` In, a pulse; ``strip`` In(UPSAMPLE instruction); ``o`` Out(stream of LINE_PAIR).
    """

    LATENCY = ROWS_BITS + 4

    start: Signal
    strip: data.View
    o: stream.Interface

    def __init__(self):
        super().__init__({"start": In(1), "strip": In(STRIP), "o": Out(stream.Signature(LINE_PAIR))})

    def elaborate(self, platform):
        m = Module()
        strip, pair = self.strip, self.o.payload
        edges = EDGES(strip.edges)
        width, factor = Signal(WIDTH_BITS + 1), Signal(ROWS_BITS)
        line_rows, result_rows = Signal(ROW_BITS), Signal(ROW_BITS)
        source_line, result_line = Signal(ROW_BITS), Signal(ROW_BITS)
        bits = Signal(range(ROWS_BITS))
        single = pair.single
        pairs, rows = Signal(STRIP["lines"].width), Signal(ROWS_BITS)  # left after this one
        m.d.comb += pair.last.eq((pairs == 0) & (rows == 0))

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [
                    width.eq(2 * (strip.width - 1) + edges.left + edges.right), factor.eq(strip.rows),
                    line_rows.eq(0), result_rows.eq(0), bits.eq(ROWS_BITS - 1),
                    source_line.eq(strip.src_row), result_line.eq(strip.dst_row),
                    single.eq(edges.top), pairs.eq(strip.lines - 2 + edges.top + edges.bottom),
                ]
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [
                    line_rows.eq((line_rows << 1) + Mux(factor[-1], strip.pitch, 0)),
                    result_rows.eq((result_rows << 1) + Mux(factor[-1], width, 0)),
                    factor.eq(factor << 1), bits.eq(bits - 1),
                ]
                with m.If(bits == 0):
                    m.next = "LINES"
            with m.State("LINES"):
                m.d.sync += [
                    pair.top.eq(source_line), pair.first.eq(result_line), rows.eq(strip.rows - 1),
                    source_line.eq(source_line + Mux(single, 0, line_rows)), result_line.eq(result_line + result_rows),
                ]
                m.next = "OTHERS"
            with m.State("OTHERS"):
                m.d.sync += [
                    pair.bottom.eq(source_line), pair.second.eq(result_line),
                    result_line.eq(result_line + Mux(single, 0, result_rows)),
                ]
                m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [pair[name].eq(pair[name] + 1) for name in ("top", "bottom", "first", "second")]
                    m.d.sync += rows.eq(rows - 1)
                    with m.If(rows == 0):
                        m.d.sync += [pairs.eq(pairs - 1), single.eq((pairs == 1) & edges.bottom)]
                        m.next = "LINES"
                        with m.If(pairs == 0):
                            m.next = "IDLE"
        return m
