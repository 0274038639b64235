# SPDX-License-Identifier: Apache-2.0
"""Token iterator: which tokens share a group, where their operands lie and where their results go."""

from types import SimpleNamespace

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Index, Opcode
from golden.spec.machine import MachineConfig
from golden.spec.tiling import SLICES_PER_ROW
from hw.array.token_group import group, load_order
from hw.array.window_lines import WindowLines
from hw.interfaces import ISSUE, QUEUE_ENTRY, ROW_BITS, TOKEN_BITS, Route
from hw.shapes import INSTRUCTION

TRAVERSAL = data.StructLayout({"expert": unsigned(6)})

_PLACE = data.StructLayout({
    "row": unsigned(ROW_BITS), "stride": unsigned(8), "offset": unsigned(8), "token": unsigned(TOKEN_BITS),
})
"""A row before it is computed: ``row + offset + token * stride``."""
_TOKEN = data.StructLayout({
    "valid": 1, "lane": 4, "first": 1, "last": 1, "done": 1, "empty": 1, "multiplier": 16, "rows_last": 7, "wide": 1,
    "plane": 8, "window": 1, "edges": 4,
})
_WORK = {
    "attention": 1, "empty": 1, "residual": 1, "operand": 1, "traversals": 1, "src_by_entry": 1, "dst_by_entry": 1,
    "wide": 1, "passes_last": 8, "last_pass": 1, "tokens_last": TOKEN_BITS, "rows_last": 7, "plane": 8,
    "head_last": 3, "src": _PLACE, "dst": _PLACE, "window": 1, "block": 3,
}
"""The current instruction, LINEAR or ATTENTION."""
assert SLICES_PER_ROW == 4, "Quarters of a row are counted in two bits."


class TokenIterator(wiring.Component):
    """Token iterator: counts tokens (or reads an expert's queue), ``tm`` to a group, once for each pass over them.

    ::

        i ----> [ pass | token | lane ] -> [ s1: places ] -> [ s2: products ] -> [ s3: rows ] -> [ lanes ] -> o
        o_traverse <-'   i_entry -^

    Passes: blocks of output tiles of LINEAR (one for dst GATE), heads of ATTENTION.
    Row of a token's operands: src_row + token * src_stride, plus the head's first row for ATTENTION; of its results:
    dst_row + token * dst_stride, plus the block's first tile (RESIDUAL) or half of it (an operand row holds two tiles).
    With ``window`` tokens are results of a convolution: a group ends with its line, and WindowLines knows where its
    operands lie.
    Timing: LATENCY = 5 from ``i`` to ``o`` with tm = 1 token (one more for each further one); II = 1 token, across
    groups, passes and instructions. A stalled ``o`` stops the iterator.
    Domain: fields within ``golden.spec.isa.LIMITS``. A LINEAR without tokens still runs its passes, with one
    group in which no lane is present (it loads row 0), so that its weights, parameters and contexts are used up.
    Reference model: the loops of ``golden.iss``.

    Members: ``i`` In(stream ISSUE); ``o_traverse`` Out(stream), one for each pass over a queue; ``i_entry`` In(stream
    QUEUE_ENTRY); ``o`` Out(stream of group and load order).
    """

    LATENCY = WindowLines.LATENCY + 2
    II = 1

    i: stream.Interface
    o_traverse: stream.Interface
    i_entry: stream.Interface
    o: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "o_traverse": Out(stream.Signature(TRAVERSAL)),
            "i_entry": In(stream.Signature(QUEUE_ENTRY)),
            "o": Out(stream.Signature(data.StructLayout({"group": group(cfg), "load": load_order(cfg)}))),
        })

    def elaborate(self, platform):
        m = Module()
        advance, done, begin = Signal(), Signal(), Signal()
        work, valid = SimpleNamespace(**{name: Signal(shape, name=name) for name, shape in _WORK.items()}), Signal()
        m.d.comb += [self.i.ready.eq(~valid | done), begin.eq(self.i.valid & self.i.ready)]
        with m.If(done):
            m.d.sync += valid.eq(0)
        with m.If(begin):
            m.d.sync += valid.eq(1)
        lines = m.submodules.lines = WindowLines(self.cfg)
        m.d.comb += [lines.begin.eq(begin), lines.word.eq(self.i.p.word), lines.window.eq(work.window),
                     lines.advance.eq(advance)]
        self._take(m, begin, work)
        token, src, dst = self._places(m, work, valid, advance, done, lines)
        token, number, rows = self._rows(m, advance, token, src, dst)
        self._fill(m, advance, token, number, rows, lines)
        return m

    def _take(self, m, begin, work) -> None:
        """The instruction, and as many traversals of its queue as it has passes."""
        linear = INSTRUCTION[Opcode.LINEAR](self.i.p.word)
        heads = INSTRUCTION[Opcode.ATTENTION](self.i.p.word)
        by_token = (linear.src_index == Index.QUEUE_TOKEN) | (linear.dst_index == Index.QUEUE_TOKEN)
        by_entry = by_token | linear.gate_weight
        queued = (linear.src_index != Index.DIRECT) | (linear.dst_index != Index.DIRECT)
        linear_count = Mux(queued, self.i.p.count, linear.tokens)
        linear_empty = linear_count == 0
        linear_passes_last = Mux(linear.dst == Route.GATE.value, 0, linear.tiles - 1)
        windowed = linear.window != 0
        traversals, more, left, expert = by_entry & ~linear_empty, Signal(), Signal(8), Signal(6)
        m.d.comb += [self.o_traverse.valid.eq(more), self.o_traverse.p.expert.eq(expert)]
        with m.If(self.o_traverse.valid & self.o_traverse.ready):
            m.d.sync += [left.eq(left - work.block - 1), more.eq(left > work.block)]
        with m.If(begin):
            m.d.sync += expert.eq(self.i.p.expert)
            with m.If(linear.opcode == Opcode.ATTENTION):
                m.d.sync += [
                    work.attention.eq(1), work.empty.eq(0), work.residual.eq(0), work.operand.eq(0),
                    work.traversals.eq(0), work.src_by_entry.eq(0), work.dst_by_entry.eq(0), work.wide.eq(0),
                    work.passes_last.eq(heads.heads - 1), work.last_pass.eq(heads.heads == 1),
                    work.tokens_last.eq(heads.queries - 1),
                    work.head_last.eq(heads.head_slices - 1), work.src.row.eq(heads.q_row),
                    work.src.stride.eq(heads.q_stride), work.dst.row.eq(heads.dst_row),
                    work.dst.stride.eq(heads.dst_stride), work.window.eq(0), work.block.eq(0),
                ]
            with m.Else():
                m.d.sync += [
                    work.attention.eq(0), work.residual.eq(linear.dst == Route.RESIDUAL.value),
                    work.operand.eq((linear.dst == Route.OPERAND8.value) | (linear.dst == Route.OPERAND16.value)
                                    | (linear.dst == Route.UNSIGNED8.value)),
                    work.empty.eq(linear_empty), work.traversals.eq(traversals),
                    work.src_by_entry.eq(linear.src_index == Index.QUEUE_TOKEN),
                    work.dst_by_entry.eq(linear.dst_index == Index.QUEUE_TOKEN), work.wide.eq(linear.src_wide),
                    work.passes_last.eq(linear_passes_last), work.last_pass.eq(linear_passes_last <= linear.block),
                    work.tokens_last.eq(Mux(linear_empty, 0, linear_count - 1)),
                    work.window.eq(windowed), work.block.eq(linear.block),
                    work.rows_last.eq(Mux(windowed, linear.window - 1, (linear.slices - 1) >> 2)),
                    work.plane.eq(Mux(linear_empty, 0, linear.src_plane)),
                    work.src.row.eq(Mux(linear_empty, 0, linear.src_row)), work.src.stride.eq(linear.src_stride),
                    work.dst.row.eq(linear.dst_row), work.dst.stride.eq(linear.dst_stride),
                ]
                m.d.sync += [more.eq(traversals), left.eq(linear_passes_last)]

    def _places(self, m, work, valid, advance, done, lines: WindowLines) -> tuple:
        """Place in the loops; ``slice_`` is the head's first slice. Stage 1: (which token and pass, its source, its
        destination)."""
        pass_ = Signal(8)  # the tile or head that it begins with
        token, lane, slice_ = Signal(TOKEN_BITS), Signal(range(self.cfg.tm)), Signal(8)
        first, following = Signal(init=1), Signal(9)  # group of its pass; what the next pass begins with
        pass_done, group_done, take = Signal(), Signal(), Signal()
        ready = valid & (~work.traversals | self.i_entry.valid)
        m.d.comb += [
            take.eq(ready & advance), self.i_entry.ready.eq(advance & valid & work.traversals),
            pass_done.eq(token == work.tokens_last),
            group_done.eq(pass_done | (lane == self.cfg.tm - 1) | lines.line_done), lines.take.eq(take),
            lines.group_done.eq(group_done), lines.pass_done.eq(pass_done),
            done.eq(take & pass_done & work.last_pass), following.eq(pass_ + work.block + 1),
        ]
        with m.If(take):
            m.d.sync += [token.eq(Mux(pass_done, 0, token + 1)), lane.eq(Mux(group_done, 0, lane + 1))]
            with m.If(group_done):
                m.d.sync += first.eq(pass_done)
            with m.If(pass_done):
                m.d.sync += [pass_.eq(following), slice_.eq(slice_ + work.head_last + 1)]
            with m.If(done):
                m.d.sync += [pass_.eq(0), slice_.eq(0)]
            with m.Elif(pass_done):
                m.d.sync += work.last_pass.eq(following + work.block >= work.passes_last)

        s1_src, s1_dst, s1_token = Signal(_PLACE), Signal(_PLACE), Signal(_TOKEN)
        end_slice = Signal(9)
        m.d.comb += end_slice.eq(slice_ + work.head_last)
        with m.If(advance):
            m.d.sync += [
                s1_src.eq(work.src), s1_dst.eq(work.dst),
                s1_src.token.eq(Mux(work.src_by_entry, self.i_entry.p.token, token)),
                s1_dst.token.eq(Mux(work.dst_by_entry, self.i_entry.p.token, token)),
                s1_src.offset.eq(Mux(work.attention, slice_[2:], 0)),
                s1_dst.offset.eq(Mux(work.residual, pass_, Mux(work.operand, pass_[1:], 0))),
                s1_token.valid.eq(ready), s1_token.lane.eq(lane), s1_token.first.eq(first),
                s1_token.last.eq(pass_done), s1_token.done.eq(group_done), s1_token.empty.eq(work.empty),
                s1_token.multiplier.eq(self.i_entry.p.weight),
                s1_token.rows_last.eq(Mux(work.attention, end_slice[2:] - slice_[2:], work.rows_last)),
                s1_token.wide.eq(work.wide), s1_token.plane.eq(work.plane),
                s1_token.window.eq(work.window), s1_token.edges.eq(lines.edges),
            ]
        return s1_token, s1_src, s1_dst

    @staticmethod
    def _rows(m, advance, s1_token, s1_src, s1_dst) -> tuple:
        """Stage 2: products, and what does not depend on the token. Stage 3: (the token, its number, its rows)."""
        s2_token, s3_token = Signal.like(s1_token), Signal.like(s1_token)
        s2_number, s3_number = Signal(TOKEN_BITS), Signal(TOKEN_BITS)
        s3_rows = []
        with m.If(advance):
            m.d.sync += [s2_token.eq(s1_token), s3_token.eq(s2_token), s2_number.eq(s1_dst.token),
                         s3_number.eq(s2_number)]
            for name, place in (("src", s1_src), ("dst", s1_dst)):
                s2_product = Signal(TOKEN_BITS + 8, name=f"s2_{name}_product")
                s2_row, s3_row = Signal(ROW_BITS, name=f"s2_{name}_row"), Signal(ROW_BITS, name=f"s3_{name}_row")
                m.d.sync += [s2_product.eq(place.token * place.stride), s2_row.eq(place.row + place.offset),
                             s3_row.eq(s2_row + s2_product)]
                s3_rows.append(s3_row)
        return s3_token, s3_number, s3_rows

    def _fill(self, m, advance, s3_token, s3_number, s3_rows, lines: WindowLines) -> None:
        """Lanes fill up; the complete group waits until it is taken."""
        out, full = Signal.like(self.o.p), Signal()
        m.d.comb += [advance.eq(~full | self.o.ready), self.o.valid.eq(full), self.o.p.eq(out)]
        with m.If(advance):
            m.d.sync += full.eq(s3_token.valid & s3_token.done)
            with m.If(s3_token.valid):
                m.d.sync += [
                    out.group.first.eq(s3_token.first), out.group.last.eq(s3_token.last),
                    out.group.count.eq(s3_token.lane + 1), out.load.lanes_last.eq(s3_token.lane),
                    out.load.rows_last.eq(s3_token.rows_last), out.load.wide.eq(s3_token.wide),
                    out.load.plane.eq(s3_token.plane), out.load.window.eq(s3_token.window),
                    out.load.edges.eq(s3_token.edges), out.load.step.eq(lines.step),
                    out.load.stride.eq(lines.stride),
                ]
                for n in range(self.cfg.tm):
                    source = s3_rows[0] if n else Mux(s3_token.window, lines.corner, s3_rows[0])
                    with m.If(s3_token.lane == n):
                        m.d.sync += [
                            out.group.lanes[n].row.eq(s3_rows[1]), out.group.lanes[n].token.eq(s3_number),
                            out.group.lanes[n].multiplier.eq(s3_token.multiplier), out.load.address[n].eq(source),
                        ]
                    with m.If(s3_token.lane <= n if n < self.cfg.tm - 1 else Const(1)):
                        m.d.sync += out.group.lanes[n].present.eq((s3_token.lane == n) & ~s3_token.empty)
