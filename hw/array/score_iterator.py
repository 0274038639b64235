# SPDX-License-Identifier: Apache-2.0
"""Score iterator of ATTENTION: all key tiles for each group of queries, head after head."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.array.micro_op import LaneMove, Source, micro_op
from hw.array.token_group import group
from hw.interfaces import LINE_BITS, SOFTMAX_JOB, Route, tile_context
from hw.shapes import INSTRUCTION


class ScoreIterator(wiring.Component):
    """Score iterator: head, query group, key tile, slice; the caller counts the steps of a slice. ::

        i_multipliers -> [ multiplier of each head ] --.
        word ----------> [ key tile | slice | K row ] -+-> plan, context
                                                       '-> [ job ] -> o_softmax_job

    Timing: LATENCY = 1 from ``begin`` to ``plan``; II = 1 beat. A group's job leaves with its first beat.
    Domain: fields within ``golden.spec.isa.LIMITS``.
    Reference model: the loops of ATTENTION in ``golden.iss``.
    Members: ``begin``, ``after`` In, the instruction to come, ``word`` In, the current one; ``group`` In, whose turn it
    is; ``step``, ``step_last``, ``take`` In, this beat is taken; ``i_multipliers`` In(stream), ``more`` In, they are
    wanted, ``missing`` Out; ``ready``, ``plan``, ``context`` Out; ``done`` Out, with a group's last beat, ``over``
    with the last one of all; ``o_softmax_job`` Out(stream).
    """

    LATENCY = 1
    II = 1

    begin: Signal
    after: data.View
    word: data.View
    group: data.View
    step: Signal
    step_last: Signal
    take: Signal
    i_multipliers: stream.Interface
    more: Signal
    missing: Signal
    ready: Signal
    plan: data.View
    context: data.View
    done: Signal
    over: Signal
    o_softmax_job: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        word = INSTRUCTION[Opcode.ATTENTION]
        super().__init__({
            "begin": In(1), "after": In(word), "word": In(word), "group": In(group(cfg)), "step": In(3),
            "step_last": In(1), "take": In(1), "i_multipliers": In(stream.Signature(LINE_BITS)), "more": In(1),
            "missing": Out(1), "ready": Out(1), "plan": Out(micro_op(cfg)), "context": Out(tile_context(cfg)),
            "done": Out(1), "over": Out(1), "o_softmax_job": Out(stream.Signature(SOFTMAX_JOB))})

    def elaborate(self, platform):
        m = Module()
        slice_, slices_last, first_slice = Signal(4), Signal(3), Signal(8)
        slice_last, tile_done, next_head = Signal(), Signal(), Signal()
        m.d.comb += [slice_last.eq(slice_ == slices_last), tile_done.eq(self.step_last & slice_last),
                     next_head.eq(self.done & self.group.last)]
        with m.If(self.take & self.step_last):
            m.d.sync += slice_.eq(Mux(slice_last, 0, slice_ + 1))
        with m.If(next_head):
            m.d.sync += first_slice.eq(first_slice + slices_last + 1)
        with m.If(self.begin):
            m.d.sync += [slices_last.eq(self.after.head_slices - 1), first_slice.eq(0)]

        key_tile, key_last = self._key_tiles(m, tile_done)
        key = self._key_rows(m, tile_done, slices_last)
        multiplier, there = self._multipliers(m, next_head)
        m.d.comb += self.done.eq(self.take & tile_done & key_last)
        self._heads(m)
        first_beat = (key_tile == 0) & (slice_ == 0) & (self.step == 0)
        job_free = self._job(m, self.take & first_beat, multiplier)
        m.d.comb += self.ready.eq(there & (job_free | ~first_beat))

        # The lane row ends with quarter 3, that is first_slice + slice_ = 3 modulo 4. The comparison does not use the
        # sum: that leaves with the plan, and simulators would see a loop from the plan to its own `lane`.
        plan = self.plan
        row_done = self.step_last & (slice_last | (slice_[:2] == ~first_slice[:2]))
        m.d.comb += [
            plan.source.eq(Source.KEY), plan.row.eq(key), plan.quarter.eq(first_slice + slice_),
            plan.first.eq((slice_ == 0) & (self.step == 0)), plan.last.eq(tile_done),
            plan.scaled.eq(1), plan.present.eq(Cat(lane.present for lane in self.group.lanes)),
            plan.lane.eq(Mux(~row_done, LaneMove.STAY, Mux(
                key_last, LaneMove.FREE, Mux(tile_done, LaneMove.REWIND, LaneMove.NEXT)))),
            self.context.route.eq(Route.SOFTMAX), self.context.tile.eq(key_tile),
        ]
        for lane, of_group in zip(self.context.lanes, self.group.lanes, strict=True):
            m.d.comb += [lane.present.eq(of_group.present), lane.token.eq(self.word.keys)]
        return m

    def _key_tiles(self, m, tile_done) -> tuple[Signal, Signal]:
        """(the key tile, whether it is the last)"""
        tile, last, single, before = Signal(8), Signal(), Signal(), Signal(8)  # all are one; last but one
        with m.If(self.take & tile_done):
            m.d.sync += [tile.eq(Mux(last, 0, tile + 1)), last.eq(Mux(last, single, tile == before))]
        with m.If(self.begin):
            tiles = (self.after.keys - 1)[5:12]  # less one
            m.d.sync += [before.eq(tiles - 1), single.eq(tiles == 0), last.eq(tiles == 0)]
        return tile, last

    def _key_rows(self, m, tile_done, slices_last) -> Signal:
        """The row of K, from the first of its tile and of its head."""
        step_bits, row_bits = (self.cfg.steps - 1).bit_length(), (self.cfg.kv_rows - 1).bit_length()
        row, start, head, pitch = (Signal(row_bits, name=name) for name in ("key", "key_start", "key_head", "pitch"))
        with m.If(self.take):
            m.d.sync += row.eq(row + 1)
            with m.If(tile_done):
                m.d.sync += [row.eq(start + pitch), start.eq(start + pitch)]
        with m.If(self.done):
            m.d.sync += [row.eq(head), start.eq(head)]
            with m.If(self.group.last):
                following = head + ((slices_last + 1) << step_bits)
                m.d.sync += [row.eq(following), start.eq(following), head.eq(following)]
        with m.If(self.begin):
            base = self.after.key_tile << step_bits
            m.d.sync += [row.eq(base), start.eq(base), head.eq(base), pitch.eq(self.after.key_pitch << step_bits)]
        return row

    def _heads(self, m) -> None:
        head, heads_last = Signal(6), Signal(6)
        m.d.comb += self.over.eq(self.group.last & (head == heads_last))
        with m.If(self.done & self.group.last):
            m.d.sync += head.eq(head + 1)
        with m.If(self.begin):
            m.d.sync += [heads_last.eq(self.after.heads - 1), head.eq(0)]

    def _multipliers(self, m, next_head) -> tuple:
        """(the multiplier of the head, whether they are there)"""
        multipliers, there = Signal(LINE_BITS), Signal()
        m.d.comb += [self.missing.eq(self.more & ~there), self.i_multipliers.ready.eq(self.missing)]
        with m.If(self.i_multipliers.ready & self.i_multipliers.valid):
            m.d.sync += [multipliers.eq(self.i_multipliers.payload), there.eq(1)]
        with m.If(next_head):
            m.d.sync += multipliers.eq(multipliers >> 16)
        with m.If(self.begin):
            m.d.sync += there.eq(0)
        return multipliers[:16], there

    def _job(self, m, opens, multiplier) -> Signal:
        """The job leaves with the first beat of its scores, for which it must be free."""
        full, free, job, word = Signal(), Signal(), self.o_softmax_job.p, self.word
        m.d.comb += [self.o_softmax_job.valid.eq(full), free.eq(~full)]
        with m.If(self.o_softmax_job.valid & self.o_softmax_job.ready):
            m.d.sync += full.eq(0)
        with m.If(opens):
            m.d.sync += [full.eq(1), job.multiplier.eq(multiplier), job.shift1.eq(word.shift1),
                         job.wide.eq(word.wide_p), job.p_shift.eq(word.p_shift), job.keys.eq(word.keys),
                         job.lanes.eq(self.group.count)]
        return free
