# SPDX-License-Identifier: Apache-2.0
"""Output iterator of ATTENTION: probabilities of a query group times V, tile after tile of a head."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.array.micro_op import Source, micro_op
from hw.array.token_group import group
from hw.interfaces import Route, softmax_done, tile_context
from hw.shapes import INSTRUCTION


class OutputIterator(wiring.Component):
    """Output iterator: tile, plane, chunk; the caller counts the steps of a chunk. ::

        word -> [ tile | plane | chunk | V row ] -> plan, context

    With ``class_scores`` the tiles of a head are those of the keys, V is 127 times the unit matrix, and the results of
    the heads add up in residual rows.
    Timing: LATENCY = 1 from ``begin`` to ``plan``; II = 1 beat.
    Domain: fields within ``golden.spec.isa.LIMITS``, even ``head_slices``.
    Reference model: the loops of ATTENTION in ``golden.iss``.
    Members: ``begin``, ``after`` In, the instruction to come, ``word`` In, the current one; ``group``, ``ratio`` In,
    whose turn it is and what its probabilities are divided by; ``step``, ``step_last``, ``take`` In, this beat is
    taken; ``final`` In, this group is the last one; ``plan``, ``context`` Out; ``done`` Out, with its last beat.
    """

    LATENCY = 1
    II = 1

    begin: Signal
    after: data.View
    word: data.View
    group: data.View
    ratio: data.View
    step: Signal
    step_last: Signal
    take: Signal
    final: Signal
    plan: data.View
    context: data.View
    done: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        word = INSTRUCTION[Opcode.ATTENTION]
        super().__init__({
            "begin": In(1), "after": In(word), "word": In(word), "group": In(group(cfg)),
            "ratio": In(softmax_done(cfg)), "step": In(3), "step_last": In(1), "take": In(1), "final": In(1),
            "plan": Out(micro_op(cfg)), "context": Out(tile_context(cfg)), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        chunk, plane, plane_done, block_done = self._chunks(m)
        block, tile, tile_last = self._tiles(m, block_done)
        value = self._value_rows(m, plane_done, block_done)
        m.d.comb += self.done.eq(self.take & block_done & tile_last)

        plan, first = self.plan, Signal()
        m.d.comb += [
            first.eq((chunk == 0) & (self.step == 0)), plan.source.eq(Source.VALUE), plan.row.eq(value),
            plan.first.eq(first & ~plane), plan.shift8.eq(first & plane), plan.last.eq(block_done),
            plan.present.eq(Cat(lane.present for lane in self.group.lanes)), plan.slot.eq(self.ratio.slot),
            plan.chunk.eq(chunk), plan.plane.eq(plane), plan.unit.eq(self.word.class_scores),
            plan.diagonal.eq(chunk[1:] == tile), plan.p_release.eq(block_done & tile_last),
            plan.final.eq(plan.p_release & self.final),
        ]
        self._context(m, block, tile)
        return m

    def _chunks(self, m) -> tuple[Signal, ...]:
        """(chunk of keys, plane of the probabilities, whether the plane is done, whether the block is)"""
        plane, chunk, before = Signal(), Signal(8), Signal(8)
        last, single, plane_done, block_done = Signal(), Signal(), Signal(), Signal()  # this chunk is; all are one
        m.d.comb += [plane_done.eq(self.step_last & last), block_done.eq(plane_done & (plane | ~self.word.wide_p))]
        with m.If(self.take):
            with m.If(self.step_last):
                m.d.sync += [chunk.eq(Mux(last, 0, chunk + 1)), last.eq(Mux(last, single, chunk == before))]
            with m.If(plane_done):
                m.d.sync += plane.eq(self.word.wide_p & ~plane)
        with m.If(self.begin):
            chunks = (self.after.keys - 1)[4:12]  # less one
            m.d.sync += [before.eq(chunks - 1), single.eq(chunks == 0), last.eq(chunks == 0)]
        return chunk, plane, plane_done, block_done

    def _tiles(self, m, block_done) -> tuple[Signal, Signal, Signal]:
        """(output block of all heads, output tile of this head, whether it is the last)"""
        block, block_head, tile, tiles_last, last = Signal(8), Signal(8), Signal(6), Signal(6), Signal()
        m.d.comb += last.eq(tile == tiles_last)
        with m.If(self.take & block_done):
            m.d.sync += [block.eq(block + 1), tile.eq(tile + 1)]
        with m.If(self.done):
            m.d.sync += tile.eq(0)
            with m.If(self.group.last):
                m.d.sync += block_head.eq(block + 1)
            with m.Else():
                m.d.sync += block.eq(block_head)
        with m.If(self.begin):
            m.d.sync += [block.eq(0), block_head.eq(0), tiles_last.eq(Mux(
                self.after.class_scores, (self.after.keys - 1)[5:11], (self.after.head_slices >> 1) - 1))]
        return block, tile, last

    def _value_rows(self, m, plane_done, block_done) -> Signal:
        """The row of V, from the first of its tile and of its head."""
        row_bits, step_bits = (self.cfg.kv_rows - 1).bit_length(), (self.cfg.steps - 1).bit_length()
        row, start, head = (Signal(row_bits, name=name) for name in ("value", "value_start", "value_head"))
        with m.If(self.take):
            m.d.sync += row.eq(row + 1)
            with m.If(plane_done):
                m.d.sync += row.eq(start)
            with m.If(block_done):
                m.d.sync += [row.eq(row + 1), start.eq(row + 1)]
        with m.If(self.done):
            with m.If(self.group.last):
                m.d.sync += head.eq(row + 1)
            with m.Else():
                m.d.sync += [row.eq(head), start.eq(head)]
        with m.If(self.begin):
            base = self.after.value_tile << step_bits
            m.d.sync += [row.eq(base), start.eq(base), head.eq(base)]
        return row

    def _context(self, m, block, tile) -> None:
        context, word, later = self.context, self.word, Signal()  # a later head
        with m.If(self.done & self.group.last):
            m.d.sync += later.eq(1)
        with m.If(self.begin):
            m.d.sync += later.eq(0)
        m.d.comb += [
            context.route.eq(Mux(word.class_scores, Route.RESIDUAL, Mux(
                word.wide, Route.OPERAND16, Route.OPERAND8))), context.tile.eq(block),
            context.slot.eq(Mux(word.class_scores, 0, tile)), context.accumulate.eq(word.class_scores & later),
            context.load.eq(self.group.first & ~(word.class_scores & (later | (tile != 0)))),
            context.affine.eq(1), context.divide.eq(1),
            context.shift2.eq(word.shift2), context.pitch.eq(word.dst_plane), context.final.eq(self.plan.final),
        ]
        for n, (lane, of_group) in enumerate(zip(context.lanes, self.group.lanes, strict=True)):
            m.d.comb += [lane.present.eq(of_group.present),
                         lane.row.eq(of_group.row + Mux(word.class_scores, tile, block[1:])),
                         lane.token.eq(of_group.token), lane.multiplier.eq(self.ratio.recip[n]),
                         lane.shift.eq(self.ratio.shift[n])]
