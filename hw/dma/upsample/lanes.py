# SPDX-License-Identifier: Apache-2.0
"""Lanes of an enlargement: 64 bytes at a time, two lines blended into one, then two columns."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LINE
from hw.dma.upsample.steps import STEP
from hw.interfaces import LINE_BITS, ROW_BITS

BLEND_BITS = 10
RESULT = data.StructLayout({"row": ROW_BITS, "data": LINE_BITS, "last": 1})


class Lanes(wiring.Component):
    """Lanes: (9 a + 3 b + 3 c + d + 8) >> 4 of four bytes, as a blend of lines and then of columns, 3 parts to 1.

    ::

        i_row -> [top] \\
        i_row (bottom) -> 3 near + far + 2 -> [current] -> [middle] -> [previous]
                                                 \\----------------------/ -> (3 near + far) >> 4 -> [result] -> o

    The 2 that each blend has in excess is the 8 that rounds the result. A step that loads waits for two rows.
    Timing: LATENCY cycles from a step to its result; II = 1 step. What ``o`` stalls stops everything but the next top
    row. After a step that takes, the next one that loads comes two cycles later.
    Domain: steps of ``hw.dma.upsample.steps``; any rows.
    Reference model: ``golden.ops.upsample``.

    Members: ``i_row`` In(stream of 64 bytes), top and bottom row of each column; ``i_step`` In(stream of STEP);
    ``o`` Out(stream of RESULT).
    """

    LATENCY = 2
    II = 1

    i_row: stream.Interface
    i_step: stream.Interface
    o: stream.Interface

    def __init__(self):
        super().__init__({"i_row": In(stream.Signature(LINE_BITS)), "i_step": In(stream.Signature(STEP)),
                          "o": Out(stream.Signature(RESULT))})

    def elaborate(self, platform):
        m = Module()
        step, bottom = self.i_step.payload, self.i_row.payload
        top, has_top = Signal(LINE_BITS, reset_less=True), Signal()
        room, ready, go = Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(~self.o.valid | self.o.ready), ready.eq(room & (~step.load | has_top & self.i_row.valid)),
            go.eq(ready & self.i_step.valid), self.i_step.ready.eq(ready),
            self.i_row.ready.eq(~has_top | go & step.take),
        ]
        with m.If(~has_top):
            m.d.sync += [top.eq(self.i_row.payload), has_top.eq(self.i_row.valid)]
        with m.Elif(go & step.take):
            m.d.sync += has_top.eq(0)

        s1_write, s1_after, s1_last, s1_row = Signal(), Signal(), Signal(), Signal(ROW_BITS)
        with m.If(room):
            m.d.sync += [
                s1_write.eq(go & step.write), s1_after.eq(step.after), s1_row.eq(step.row), s1_last.eq(step.last),
                self.o.valid.eq(s1_write), self.o.payload.row.eq(s1_row), self.o.payload.last.eq(s1_last),
            ]

        blends = [[Signal(BLEND_BITS, name=f"{name}_{lane}", reset_less=True)
                   for name in ("current", "middle", "previous")] for lane in range(LINE)]
        with m.If(go & step.load):
            m.d.sync += [current.eq(_lines(top.word_select(lane, 8), bottom.word_select(lane, 8), step.below))
                         for lane, (current, _, _) in enumerate(blends)]
        with m.If(go & step.shift):
            m.d.sync += [[middle.eq(current), previous.eq(middle)] for current, middle, previous in blends]
        with m.If(room):
            m.d.sync += self.o.payload.data.eq(Cat(_columns(previous, current, s1_after)
                                                   for current, _, previous in blends))
        return m


def _lines(top, bottom, below):
    """3 parts of the bottom byte (or of the top byte) and 1 part of the other, and 2: 10 bits. The carry into bit 1 is
    made by two ones."""
    both = top + bottom
    return Cat(both[0], (Cat(1, both[1:]) + Cat(1, Mux(below, bottom, top)))[1:])


def _columns(previous, current, after):
    """A sixteenth of 3 parts of the current blend (or of the previous one) and 1 part of the other, rounded down."""
    both = current + previous
    return (both[1:] + Mux(after, current, previous))[3:]
