# SPDX-License-Identifier: Apache-2.0
"""Operand loader: copies the operand rows of each token group into the lane buffers, ahead of the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from hw.array.lane_buffer import pointer_bits
from hw.array.token_group import group
from hw.array.token_iterator import TRAVERSAL, TokenIterator
from hw.array.window_iterator import WindowIterator
from hw.interfaces import ISSUE, OPERAND_ROW, QUEUE_ENTRY, READ_LATENCY, ROW_BITS
from hw.lib.pipeline import Pipeline
from hw.lib.queue import Queue

GROUPS_AHEAD = 8
ORDERS_AHEAD = 2


class OperandLoader(wiring.Component):
    """Operand loader: reads the rows of each token group into the lanes and reports how far the buffers are filled.

    ::

        i -> [TokenIterator] -+-> [queue of groups] -----------------------------------------------> o_group
                          '-> [queue of orders] -> [ plane | row | lane ]  -> [ a: address ] -> [ o_operand_read ]
                                             '-> [ WindowIterator ] -----------^                        |
           lane_* <- [ w: row, lanes ] <- i_operand_row <- (READ_LATENCY) <-----------------------------'

    Lane rows are a circular buffer of 2 * lane_rows in every lane; row n of a group has the same place in all lanes.
    With ``window`` a read is written to several lanes, one lane row apart; a position beyond the map's edge takes its
    cycle without a read, and zeros are written.
    Timing: LATENCY + n - 1 from ``i`` to the first read request of a group of n tokens; READ_LATENCY + 2 from a row's
    last transfer until ``loaded`` counts it; II = 1 row of 64 bytes, across groups, tiles and instructions. A
    window of R operand rows takes (n + 2) * 3 R cycles of a plane for its 9 R lane rows.
    Domain: a group that is read more than once (dst GATE, ATTENTION) has at most 2 * lane_rows rows, planes counted.
    Reference model: none, it changes nothing.

    Members: ``i`` In(stream ISSUE); ``o_traverse``, ``i_entry`` as in TokenIterator; ``o_operand_read`` Out(stream of
    row), ``i_operand_row`` In(OPERAND_ROW); ``o_group`` Out(stream group), as soon as the group's rows are requested;
    ``lane_en`` Out(one bit a lane), ``lane_row`` Out(of each lane), ``lane_data`` Out, writes to the lane buffers;
    ``loaded`` Out, ``free`` In, pointers to the end and the start of the lane rows in use.
    """

    LATENCY = TokenIterator.LATENCY + 3
    II = 1

    i: stream.Interface
    o_traverse: stream.Interface
    i_entry: stream.Interface
    o_operand_read: stream.Interface
    o_group: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        pointer = pointer_bits(cfg)
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "o_traverse": Out(stream.Signature(TRAVERSAL)),
            "i_entry": In(stream.Signature(QUEUE_ENTRY)), "o_operand_read": Out(stream.Signature(ROW_BITS)),
            "i_operand_row": In(OPERAND_ROW), "o_group": Out(stream.Signature(group(cfg))),
            "lane_en": Out(cfg.tm), "lane_row": Out(data.ArrayLayout(pointer - 1, cfg.tm)),
            "lane_data": Out(OPERAND_ROW),
            "loaded": Out(pointer), "free": In(pointer)
        })

    def elaborate(self, platform):
        m = Module()
        cfg = self.cfg
        iterator = m.submodules.iterator = TokenIterator(cfg)
        wiring.connect(m, wiring.flipped(self.i), iterator.i)
        wiring.connect(m, iterator.o_traverse, wiring.flipped(self.o_traverse))
        wiring.connect(m, wiring.flipped(self.i_entry), iterator.i_entry)

        # Both queues take a group at the same time.
        groups = m.submodules.groups = Queue(group(cfg), GROUPS_AHEAD)
        orders = m.submodules.orders = Queue(iterator.o.p.load.shape(), ORDERS_AHEAD)
        m.d.comb += [
            iterator.o.ready.eq(groups.i.ready & orders.i.ready),
            groups.i.valid.eq(iterator.o.valid & orders.i.ready), groups.i.p.eq(iterator.o.p.group),
            orders.i.valid.eq(iterator.o.valid & groups.i.ready), orders.i.p.eq(iterator.o.p.load),
        ]
        wiring.connect(m, groups.o, wiring.flipped(self.o_group))

        # Plane, row, lane: lanes innermost, so that the array can start when row 0 is there. The next row to fill.
        order = orders.o.p
        plane, row, lane, offset = Signal(), Signal(7), Signal(range(cfg.tm)), Signal(9)
        pointer = Signal(pointer_bits(cfg))
        take, advance, lane_last, row_last, full = Signal(), Signal(), Signal(), Signal(), Signal()
        windows = m.submodules.windows = WindowIterator(cfg)
        m.d.comb += [
            full.eq(((pointer ^ self.free) == 2 * cfg.lane_rows) & (windows.opens | ~order.window)),
            take.eq(orders.o.valid & advance & ~full), windows.take.eq(take & order.window), windows.order.eq(order),
            lane_last.eq(lane == order.lanes_last), row_last.eq(row == order.rows_last),
            orders.o.ready.eq(take & Mux(order.window, windows.done, lane_last & row_last & (plane | ~order.wide))),
        ]
        with m.If(take & Mux(order.window, windows.opens, lane_last)):
            m.d.sync += pointer.eq(pointer + 1)
        with m.If(take & ~order.window):
            m.d.sync += lane.eq(Mux(lane_last, 0, lane + 1))
            with m.If(lane_last):
                m.d.sync += [row.eq(Mux(row_last, 0, row + 1)), offset.eq(offset + 1)]
                with m.If(row_last):
                    m.d.sync += [plane.eq(order.wide & ~plane), offset.eq(Mux(order.wide & ~plane, order.plane, 0))]

        # Stage a: operands of the address. Stage b: the request, unless zeros are wanted.
        tag = data.StructLayout({"lanes": cfg.tm, "row": pointer_bits(cfg) - 1, "last": 1, "window": 1})
        a_valid, a_beyond, a_address, a_offset = Signal(), Signal(), Signal(ROW_BITS), Signal(ROW_BITS)
        a_tag, b_tag, b_beyond = Signal(tag), Signal(tag), Signal()
        m.d.comb += advance.eq(~self.o_operand_read.valid | self.o_operand_read.ready)
        with m.If(advance):
            m.d.sync += [
                a_valid.eq(take), a_beyond.eq(take & order.window & windows.beyond),
                a_address.eq(order.address[lane]),
                a_offset.eq(Mux(order.window, windows.offset, offset)), a_tag.window.eq(order.window),
                a_tag.lanes.eq(Mux(order.window, windows.lanes, 1 << lane)), a_tag.row.eq(pointer + windows.ahead),
                a_tag.last.eq(Mux(order.window, windows.completes, lane_last)),
                self.o_operand_read.valid.eq(a_valid & ~a_beyond), b_beyond.eq(a_beyond),
                self.o_operand_read.payload.eq(a_address + a_offset), b_tag.eq(a_tag),
            ]

        # The answer comes READ_LATENCY after the transfer.
        pipe = Pipeline(m, "d", {"answer": READ_LATENCY}, flags={
            "moved": b_beyond | self.o_operand_read.valid & self.o_operand_read.ready, "where": b_tag,
            "beyond": b_beyond})
        moved, where, beyond = (getattr(pipe.at("answer"), name) for name in ("moved", "where", "beyond"))

        # Stage w: write. A row counts as loaded when its last lane is written.
        w_last, w_data = Signal(), Signal(OPERAND_ROW, reset_less=True)
        m.d.comb += self.lane_data.eq(w_data)
        m.d.sync += [
            w_data.eq(Mux(beyond, 0, self.i_operand_row)), w_last.eq(moved & where.last),
            self.lane_en.eq(Mux(moved, where.lanes, 0)), self.loaded.eq(self.loaded + w_last),
        ]
        m.d.sync += [row.eq(where.row - Mux(where.window, n, 0)) for n, row in enumerate(self.lane_row)]
        return m
