# SPDX-License-Identifier: Apache-2.0
"""Steps of an enlargement: what the lanes do in each cycle, and to which operand row each result goes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.dma.upsample.line_pairs import LINE_PAIR, ROWS_BITS, WIDTH_BITS
from hw.interfaces import ROW_BITS

STEP = data.StructLayout({
    "load": 1,         # the blend of this column's two rows becomes the current one ...
    "below": 1,        # ... with 3 parts of the bottom row instead of the top row
    "shift": 1,        # the current blend becomes the middle one, the middle one the previous one
    "take": 1,         # the column's two rows are not needed any more
    "write": 1,        # a result: of the current and the previous blend ...
    "after": 1,        # ... with 3 parts of the current one instead of the previous one
    "row": ROW_BITS,   # where it goes
    "last": 1,         # of the strip
})


class Steps(wiring.Component):
    """Steps: a pair of lines gives, at every column x but the first, results 2 x - 1 and 2 x of each of its lines.

    ::

        column 0                top, bottom             blends only
          at the left edge      top, bottom again       result 0 of each line
        columns 1 ..            top, -, bottom, -       results 2 x - 1 and 2 x of the first line, then of the second
        beyond the right edge   top, bottom again       the last result of each line

    Blends of the two lines alternate, so the previous blend of the same line is always two shifts back. With a single
    line the same blend is shifted twice.
    Timing: LATENCY cycles from ``i`` to the first step. II = 1 step; a pair takes 4 width - 2 steps and two more for
    each of the edges left and right, a single line 2 width, one more at the right and two more at the left edge.
    Domain: ``rows``, ``width``, edges of legal strips, stable from the first to the last step.
    Reference model: ``golden.ops.upsample``.

    Members: ``i`` In(stream of LINE_PAIR); ``rows``, ``width``, ``left``, ``right`` In, of the strip;
    ``o`` Out(stream of STEP).
    """

    LATENCY = 2
    II = 1

    i: stream.Interface
    rows: Signal
    width: Signal
    left: Signal
    right: Signal
    o: stream.Interface

    def __init__(self):
        super().__init__({"i": In(stream.Signature(LINE_PAIR)), "rows": In(ROWS_BITS), "width": In(WIDTH_BITS),
                          "left": In(1), "right": In(1), "o": Out(stream.Signature(STEP))})

    def elaborate(self, platform):
        m = Module()
        busy, single, last = Signal(), Signal(), Signal()
        first, beyond = Signal(), Signal()                    # column 0, beyond the right edge; else between them
        phase, columns = Signal(2), Signal(WIDTH_BITS)        # columns between them left after this one
        lines = [Signal(ROW_BITS, name=f"line{n}") for n in range(2)]
        step, room, ends, finished, second = Signal(STEP), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(~self.o.valid | self.o.ready), self.i.ready.eq(~busy | room & finished),
            finished.eq(ends & Mux(first, 0, beyond | (columns == 0) & ~self.right)),
            step.last.eq(finished & last), step.row.eq(Mux(second, lines[1], lines[0])),
        ]
        with m.If(first):
            m.d.comb += [
                step.load.eq(1), step.shift.eq(1), step.below.eq(phase[0]), step.take.eq(ends), step.after.eq(1),
                step.write.eq(phase[1] & self.left & (phase[0] | ~single)), second.eq(phase[0] & ~single),
                ends.eq(phase == 3),
            ]
        with m.Elif(beyond):
            m.d.comb += [
                step.load.eq(~single), step.shift.eq(1), step.below.eq(phase[0]), step.take.eq(phase[0]),
                step.write.eq(1), second.eq(phase[0]), ends.eq(phase[0] | single),
            ]
        with m.Else():
            m.d.comb += [
                step.load.eq(~phase[0]), step.shift.eq(~phase[0] | single), step.below.eq(phase[1]),
                step.take.eq(~phase[0] & (single | phase[1] & ~(self.right & (columns == 0)))),
                step.write.eq(1), step.after.eq(phase[0]), second.eq(phase[1]), ends.eq(phase[0] & (phase[1] | single)),
            ]

        with m.If(room):
            m.d.sync += [self.o.valid.eq(busy), self.o.payload.eq(step)]
        with m.If(room & busy):
            m.d.sync += phase.eq(phase + 1)
            with m.If(ends):
                m.d.sync += [phase.eq(0), first.eq(0), busy.eq(~finished)]
                with m.If(~first):
                    m.d.sync += [columns.eq(columns - 1), beyond.eq(columns == 0)]
            for n, line in enumerate(lines):
                with m.If(step.write & (second == n)):
                    m.d.sync += line.eq(step.row + self.rows)
        with m.If(self.i.valid & self.i.ready):
            pair = self.i.payload
            m.d.sync += [
                busy.eq(1), single.eq(pair.single), last.eq(pair.last), lines[0].eq(pair.first),
                lines[1].eq(pair.second), first.eq(1), beyond.eq(0), phase.eq(Mux(self.left, 0, 2)),
                columns.eq(self.width - 2),
            ]
        return m
