# SPDX-License-Identifier: Apache-2.0
"""Attention schedule: order of array beats; scores of later query groups overlap outputs of earlier ones."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import SCORES_AHEAD, MachineConfig
from hw.array.micro_op import LaneMove, Source, micro_op
from hw.array.token_group import group
from hw.interfaces import ISSUE, LINE_BITS, SOFTMAX_JOB, SOFTMAX_SLOTS, Route, softmax_done, tile_context
from hw.lib.queue import Queue
from hw.shapes import INSTRUCTION

# Computing scores early is deadlock-free: for those of group g + SCORES_AHEAD the softmax needs only to have read those
# of g + SCORES_AHEAD - SOFTMAX_SLOTS, which waits for nothing but outputs of earlier groups, and these were issued
# before.
assert SCORES_AHEAD <= SOFTMAX_SLOTS


class AttentionSchedule(wiring.Component):
    """Loops of ATTENTION: head, query group; in it scores (key tile, slice, step), outputs (tile, plane, chunk, step).

    ::

        i -> [ instruction ]    i_multipliers -> [ multipliers ]
        i_group -> (head) -> [ scores:  key tile | slice | step | K row ] --.
                     '-> [ groups waiting for their outputs ]                +-> o, context
        i_softmax_done -> [ queue ] -> [ outputs: tile | plane | chunk | step | V row ] '
        o_softmax_job <- [ job ]

    Outputs of a group follow the scores of the SCORES_AHEAD groups after it, which hide its softmax latency.
    Timing: LATENCY = 1 from ``i`` to ``o`` (with a group and the multipliers there); II = 1 beat within scores and
    outputs and from one to the other. A stalled ``o`` keeps its payload.
    Domain: fields within ``golden.spec.isa.LIMITS``, even ``head_slices``.
    Reference model: the loops of ATTENTION in ``golden.iss``.

    Members: ``i`` In(stream ISSUE), ``i_group`` In(stream group), ``i_multipliers`` In(stream of LINE_BITS), ``o``
    Out(stream micro_op), ``context`` Out, the tile's context while ``o`` carries its last beat; ``o_softmax_job``
    Out(stream), ``i_softmax_done`` In(stream); ``busy`` Out, an instruction is in progress; ``no_multipliers`` Out, it
    waits for its multipliers.
    """

    LATENCY = 1
    II = 1

    i: stream.Interface
    i_group: stream.Interface
    i_multipliers: stream.Interface
    o: stream.Interface
    o_softmax_job: stream.Interface
    i_softmax_done: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "i_group": In(stream.Signature(group(cfg))),
            "i_multipliers": In(stream.Signature(LINE_BITS)), "o": Out(stream.Signature(micro_op(cfg))),
            "context": Out(tile_context(cfg)), "o_softmax_job": Out(stream.Signature(SOFTMAX_JOB)),
            "i_softmax_done": In(stream.Signature(softmax_done(cfg))), "busy": Out(1), "no_multipliers": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        cfg, step_bits = self.cfg, (self.cfg.steps - 1).bit_length()
        row_bits = (cfg.kv_rows - 1).bit_length()
        word = Signal(INSTRUCTION[Opcode.ATTENTION])
        after = INSTRUCTION[Opcode.ATTENTION](self.i.p.word)
        take, step, step_last = Signal(), Signal(3), Signal()
        m.d.comb += [take.eq(self.o.valid & self.o.ready), step_last.eq(step == cfg.steps - 1)]
        with m.If(take):
            m.d.sync += step.eq(Mux(step_last, 0, step + 1))

        # Groups whose scores are in progress or done, and finished softmax jobs.
        waiting = m.submodules.waiting = Queue(group(cfg), SCORES_AHEAD + 1)
        finished = m.submodules.finished = Queue(softmax_done(cfg), 2)
        wiring.connect(m, wiring.flipped(self.i_softmax_done), finished.i)

        # Which of the two: `outputs` while a group's outputs are computed.
        outputs, scores_over = Signal(), Signal()
        scores_done, outputs_done, last_scores, done = Signal(), Signal(), Signal(), Signal()
        m.d.comb += done.eq(outputs_done & scores_over & (waiting.level == 1))
        with m.If(scores_done):
            m.d.sync += [outputs.eq(last_scores | (waiting.level >= SCORES_AHEAD)), scores_over.eq(last_scores)]
        with m.If(outputs_done):
            m.d.sync += outputs.eq(scores_over)
        with m.If(done):
            m.d.sync += [self.busy.eq(0), outputs.eq(0), scores_over.eq(0)]

        # Scores.
        multipliers, multipliers_there = Signal(LINE_BITS), Signal()
        head, key_tile, slice_, first_slice = Signal(6), Signal(8), Signal(4), Signal(8)
        key, key_start, key_head = Signal(row_bits), Signal(row_bits), Signal(row_bits)
        heads_last, slices_last, pitch = Signal(6), Signal(3), Signal(row_bits)
        slice_last, tile_done, place = Signal(), Signal(), Signal(8)
        key_last, key_single, key_before = Signal(), Signal(), Signal(8)  # this tile is; all are one; last but one
        first_score, job_free, job_full = Signal(), Signal(), Signal()
        group_ = self.i_group.p
        score_take = take & ~outputs
        m.d.comb += [
            self.i_multipliers.ready.eq(self.busy & ~multipliers_there),
            self.no_multipliers.eq(self.busy & ~multipliers_there),
            slice_last.eq(slice_ == slices_last), place.eq(first_slice + slice_),
            tile_done.eq(step_last & slice_last), first_score.eq((key_tile == 0) & (slice_ == 0) & (step == 0)),
            scores_done.eq(score_take & tile_done & key_last), self.i_group.ready.eq(scores_done),
            last_scores.eq(group_.last & (head == heads_last)),
            waiting.i.valid.eq(scores_done), waiting.i.p.eq(group_),
        ]
        with m.If(self.i_multipliers.ready & self.i_multipliers.valid):
            m.d.sync += [multipliers.eq(self.i_multipliers.payload), multipliers_there.eq(1)]
        with m.If(score_take):
            m.d.sync += key.eq(key + 1)
            with m.If(step_last):
                m.d.sync += slice_.eq(Mux(slice_last, 0, slice_ + 1))
            with m.If(tile_done):
                m.d.sync += [key_tile.eq(Mux(key_last, 0, key_tile + 1)),
                             key_last.eq(Mux(key_last, key_single, key_tile == key_before)), key.eq(key_start + pitch),
                             key_start.eq(key_start + pitch)]
        with m.If(scores_done):
            m.d.sync += [key.eq(key_head), key_start.eq(key_head)]
            with m.If(group_.last):
                next_head = key_head + ((slices_last + 1) << step_bits)
                m.d.sync += [
                    key.eq(next_head), key_start.eq(next_head), key_head.eq(next_head), head.eq(head + 1),
                    first_slice.eq(first_slice + slices_last + 1), multipliers.eq(multipliers >> 16),
                ]

        # The job leaves in the same cycle as the first beat of its scores.
        job_sent = self.o_softmax_job.valid & self.o_softmax_job.ready
        m.d.comb += [self.o_softmax_job.valid.eq(job_full), job_free.eq(~job_full)]
        with m.If(job_sent):
            m.d.sync += job_full.eq(0)
        with m.If(score_take & first_score):
            job = self.o_softmax_job.p
            m.d.sync += [job_full.eq(1), job.multiplier.eq(multipliers[:16]), job.shift1.eq(word.shift1),
                         job.wide.eq(word.wide_p),
                         job.p_shift.eq(word.p_shift), job.keys.eq(word.keys), job.lanes.eq(group_.count)]

        # Outputs: block = output block of all heads, tile = of this head.
        block, block_head, tile, tiles_last = Signal(8), Signal(8), Signal(3), Signal(3)
        plane, chunk, chunk_before = Signal(), Signal(8), Signal(8)
        value, value_start, value_head = Signal(row_bits), Signal(row_bits), Signal(row_bits)
        chunk_last, chunk_single, plane_done, block_done = Signal(), Signal(), Signal(), Signal()
        mixed, ratio = waiting.o.p, finished.o.p
        output_take = take & outputs
        m.d.comb += [
            plane_done.eq(step_last & chunk_last),
            block_done.eq(plane_done & (plane | ~word.wide_p)),
            outputs_done.eq(output_take & block_done & (tile == tiles_last)),
            waiting.o.ready.eq(outputs_done), finished.o.ready.eq(outputs_done),
        ]
        with m.If(output_take):
            m.d.sync += value.eq(value + 1)
            with m.If(step_last):
                m.d.sync += [chunk.eq(Mux(chunk_last, 0, chunk + 1)),
                             chunk_last.eq(Mux(chunk_last, chunk_single, chunk == chunk_before))]
            with m.If(plane_done):
                m.d.sync += [plane.eq(word.wide_p & ~plane), value.eq(value_start)]
            with m.If(block_done):
                m.d.sync += [value.eq(value + 1), value_start.eq(value + 1), block.eq(block + 1), tile.eq(tile + 1)]
        with m.If(outputs_done):
            m.d.sync += tile.eq(0)
            with m.If(mixed.last):
                m.d.sync += [value_head.eq(value + 1), block_head.eq(block + 1)]
            with m.Else():
                m.d.sync += [value.eq(value_head), value_start.eq(value_head), block.eq(block_head)]

        # Instruction.
        m.d.comb += self.i.ready.eq(~self.busy)
        with m.If(self.i.ready & self.i.valid):
            tiles, chunks = (after.keys - 1)[5:12], (after.keys - 1)[4:12]  # less one
            key_base, value_base = after.key_tile << step_bits, after.value_tile << step_bits
            m.d.sync += [
                self.busy.eq(1), word.as_value().eq(self.i.p.word), multipliers_there.eq(0),
                key_before.eq(tiles - 1), key_single.eq(tiles == 0), key_last.eq(tiles == 0),
                chunk_before.eq(chunks - 1), chunk_single.eq(chunks == 0), chunk_last.eq(chunks == 0),
                heads_last.eq(after.heads - 1), slices_last.eq(after.head_slices - 1),
                tiles_last.eq((after.head_slices >> 1) - 1), pitch.eq(after.key_pitch << step_bits),
                head.eq(0), first_slice.eq(0), key.eq(key_base), key_start.eq(key_base), key_head.eq(key_base),
                value.eq(value_base), value_start.eq(value_base), value_head.eq(value_base),
                block.eq(0), block_head.eq(0),
            ]

        # The beat.
        plan, first = self.o.p, Signal()
        lane_row_done = step_last & (slice_last | (place[:2] == 3))
        m.d.comb += [plan.step.eq(step), plan.slot.eq(ratio.slot), plan.chunk.eq(chunk), plan.plane.eq(plane)]
        with m.If(outputs):
            m.d.comb += [
                self.o.valid.eq(self.busy & waiting.o.valid & finished.o.valid),
                first.eq((chunk == 0) & (step == 0)), plan.source.eq(Source.VALUE), plan.row.eq(value),
                plan.first.eq(first & ~plane), plan.shift8.eq(first & plane), plan.last.eq(block_done),
                plan.present.eq(Cat(lane.present for lane in mixed.lanes)),
                plan.p_release.eq(block_done & (tile == tiles_last)),
                plan.final.eq(plan.p_release & scores_over & (waiting.level == 1)),
            ]
        with m.Else():
            m.d.comb += [
                self.o.valid.eq(self.busy & self.i_group.valid & multipliers_there & (job_free | ~first_score)),
                first.eq((slice_ == 0) & (step == 0)), plan.source.eq(Source.KEY), plan.row.eq(key),
                plan.first.eq(first), plan.last.eq(tile_done), plan.quarter.eq(place[:2]), plan.scaled.eq(1),
                plan.present.eq(Cat(lane.present for lane in group_.lanes)),
                plan.lane.eq(Mux(~lane_row_done, LaneMove.STAY, Mux(
                    key_last, LaneMove.FREE, Mux(tile_done, LaneMove.REWIND, LaneMove.NEXT)))),
            ]

        # The tile's context.
        context = self.context
        with m.If(outputs):
            m.d.comb += [
                context.route.eq(Mux(word.wide, Route.OPERAND16, Route.OPERAND8)), context.tile.eq(block),
                context.slot.eq(tile), context.load.eq(mixed.first), context.affine.eq(1), context.divide.eq(1),
                context.shift2.eq(word.shift2), context.pitch.eq(word.dst_plane), context.final.eq(plan.final),
            ]
            for n, lane in enumerate(context.lanes):
                m.d.comb += [lane.present.eq(mixed.lanes[n].present), lane.row.eq(mixed.lanes[n].row + block[1:]),
                             lane.token.eq(mixed.lanes[n].token), lane.multiplier.eq(ratio.recip[n]),
                             lane.shift.eq(ratio.shift[n])]
        with m.Else():
            m.d.comb += [context.route.eq(Route.SOFTMAX), context.tile.eq(key_tile)]
            for n, lane in enumerate(context.lanes):
                m.d.comb += [lane.present.eq(group_.lanes[n].present), lane.token.eq(word.keys)]
        return m
