# SPDX-License-Identifier: Apache-2.0
"""Window iterator: the reads that fill the lanes with the 3x3 windows around a group of neighbouring results."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from golden.spec.tiling import WINDOW
from hw.array.token_group import load_order
from hw.interfaces import ROW_BITS
from hw.shapes import EDGES


class WindowIterator(wiring.Component):
    """Window iterator: plane, line of the window, operand row, column; each column goes to up to three lanes. ::

        order -> [ plane | line | row | column ] -> offset, lanes, ahead, ...
        take -------^

    The windows of neighbours overlap: column j of the n + 2 columns around a group of n results is column j - l of the
    window of lane l. So each is read once, and its row is written to lane l at lane row j - l of the three rows that
    belong to this line and operand row. Lane rows are opened by columns 0 to 2 and completed by the last three
    columns, both in ascending order.
    Timing: LATENCY = 0 from ``order`` to the first read; II = 1 read: (n + 2) * 3 * rows of them for a plane.
    Domain: ``order`` has ``window`` and keeps its value until it is ``done``.
    Reference model: ``golden.ops.window``.

    Members: ``order`` In(load order); ``take`` In: this read is taken; ``offset`` Out: its row, counted from the
    group's corner; ``beyond`` Out: it lies beyond an edge of the map, its row is zero and not read; ``lanes`` Out: one
    bit for each lane that gets it; ``ahead`` Out: lane rows from the next row to be opened to lane 0's; ``opens``,
    ``completes`` Out: with this read the next lane row is opened, the oldest open one is complete; ``done`` Out: it is
    the group's last.
    """

    LATENCY = 0
    II = 1

    order: data.View
    take: Signal
    offset: Signal
    beyond: Signal
    lanes: Signal
    ahead: Signal
    opens: Signal
    completes: Signal
    done: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "order": In(load_order(cfg)), "take": In(1), "offset": Out(ROW_BITS), "beyond": Out(1),
            "lanes": Out(cfg.tm), "ahead": Out(range(cfg.tm + 2)), "opens": Out(1), "completes": Out(1),
            "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        order, edges = self.order, EDGES(self.order.edges)
        column, row, line, plane = Signal(5), Signal(4), Signal(2), Signal()
        column_last, row_last, line_last, plane_last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            column_last.eq(column == order.lanes_last + (WINDOW - 1)), row_last.eq(row == order.rows_last),
            line_last.eq(line == WINDOW - 1), plane_last.eq(plane | ~order.wide),
            self.opens.eq(column < WINDOW), self.completes.eq(column >= order.lanes_last),
            self.beyond.eq((edges.top & (line == 0)) | (edges.bottom & line_last)
                           | (edges.left & (column == 0)) | (edges.right & column_last)),
            self.done.eq(column_last & row_last & line_last & plane_last),
        ]
        # Where the read lies, where the column and where the line of the window begin.
        places = at, row_at, line_at = self.offset, Signal(ROW_BITS), Signal(ROW_BITS)
        next_row, next_line, next_plane = Signal(ROW_BITS), Signal(ROW_BITS), Signal(ROW_BITS)
        m.d.comb += [next_row.eq(row_at + 1), next_line.eq(line_at + order.step),
                     next_plane.eq(Mux(plane_last, 0, order.plane))]
        with m.If(self.take):
            m.d.sync += [column.eq(column + 1), at.eq(at + order.stride)]
            with m.If(column_last):
                m.d.sync += [column.eq(0), row.eq(row + 1), at.eq(next_row), row_at.eq(next_row)]
            with m.If(column_last & row_last):
                m.d.sync += [row.eq(0), line.eq(line + 1), *(place.eq(next_line) for place in places)]
            with m.If(column_last & row_last & line_last):
                m.d.sync += [line.eq(0), plane.eq(~plane_last), *(place.eq(next_plane) for place in places)]

        # Lanes: the latest three columns that a lane can have; they move up by one with each column.
        band, there, ahead = Signal(self.cfg.tm, init=1), Signal(self.cfg.tm), Signal.like(self.ahead)
        m.d.comb += [there.eq(~(~1 << order.lanes_last)), self.lanes.eq(band & there), self.ahead.eq(ahead)]
        with m.If(self.take):
            m.d.sync += [band.eq(band << 1 | (column < WINDOW - 1)), ahead.eq(Mux(self.opens, 0, ahead + 1))]
            with m.If(column_last):
                m.d.sync += [band.eq(1), ahead.eq(0)]
        return m
