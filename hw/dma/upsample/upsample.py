# SPDX-License-Identifier: Apache-2.0
"""Enlargement unit: UPSAMPLE, a strip of a map of unsigned bytes in operand memory to twice its lines and columns."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.dma.upsample.lanes import Lanes
from hw.dma.upsample.line_pairs import STRIP, LinePairs
from hw.dma.upsample.steps import Steps
from hw.dma.upsample.strip_reader import StripReader
from hw.interfaces import LINE_BITS, OPERAND_WRITE, ROW_BITS
from hw.shapes import EDGES


class Upsample(wiring.Component):
    """Enlargement unit: bilinear, by 2, one strip at a time; results have exponent 0.

    ::

        i -> [LinePairs] -+-> [StripReader] -> o_read
                          '-> [Steps] ---------v
                    i_row ------------> [Lanes] -> o

    Two source lines give two result lines: two rows are read for four written.
    Timing: LATENCY cycles from ``i`` to the first row requested. II = 1 result row a cycle; a pair of result lines
    takes, for each operand row of a position, PAIR cycles more than it has results (one more at a right edge), a single
    line at an upper or lower edge SINGLE more (one more at a left edge).
    Domain: instructions that passed the checker; source and result do not overlap.
    Reference model: ``golden.ops.upsample``.

    Members: ``i`` In(stream of the UPSAMPLE instruction); ``o_read`` Out(stream of row), ``i_row`` In(stream of 64
    bytes), the rows requested, in order, any time later; ``o`` Out(stream of OPERAND_WRITE); ``idle`` Out, the last
    result has left.
    """

    LATENCY = LinePairs.LATENCY + StripReader.LATENCY
    II = 1
    PAIR = 3
    SINGLE = 3

    i: stream.Interface
    o_read: stream.Interface
    i_row: stream.Interface
    o: stream.Interface
    idle: Signal

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(STRIP)), "o_read": Out(stream.Signature(ROW_BITS)),
            "i_row": In(stream.Signature(LINE_BITS)), "o": Out(stream.Signature(OPERAND_WRITE)), "idle": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.pairs = pairs = LinePairs()
        m.submodules.reader = reader = StripReader()
        m.submodules.steps = steps = Steps()
        m.submodules.lanes = lanes = Lanes()
        strip, start = Signal(STRIP), Signal()
        edges = EDGES(strip.edges)
        m.d.comb += [
            self.i.ready.eq(self.idle), start.eq(self.i.valid & self.i.ready),
            pairs.start.eq(start), pairs.strip.eq(strip), reader.rows.eq(strip.rows), reader.width.eq(strip.width),
            steps.rows.eq(strip.rows), steps.width.eq(strip.width), steps.left.eq(edges.left),
            steps.right.eq(edges.right),
        ]
        with m.If(start):
            m.d.sync += [strip.eq(self.i.payload), self.idle.eq(0)]
        with m.If(self.o.valid & self.o.ready & lanes.o.payload.last):
            m.d.sync += self.idle.eq(1)

        # A pair goes to both; the one that is ready first takes it first.
        targets = (reader, steps)
        taken = [Signal(name=f"taken{n}") for n in range(len(targets))]
        for flag, target in zip(taken, targets, strict=True):
            m.d.comb += [target.i.valid.eq(pairs.o.valid & ~flag), target.i.payload.eq(pairs.o.payload)]
            m.d.sync += flag.eq(pairs.o.valid & ~pairs.o.ready & (flag | target.i.ready))
        m.d.comb += pairs.o.ready.eq((taken[0] | reader.i.ready) & (taken[1] | steps.i.ready))

        wiring.connect(m, reader.o, wiring.flipped(self.o_read))
        wiring.connect(m, wiring.flipped(self.i_row), lanes.i_row)
        wiring.connect(m, steps.o, lanes.i_step)
        m.d.comb += [
            self.o.valid.eq(lanes.o.valid), lanes.o.ready.eq(self.o.ready), self.o.payload.row.eq(lanes.o.payload.row),
            self.o.payload.mask.eq(0b11), self.o.payload.data.eq(lanes.o.payload.data),
        ]
        return m
