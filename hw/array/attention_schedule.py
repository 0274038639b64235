# SPDX-License-Identifier: Apache-2.0
"""Attention schedule: order of array beats; scores of later query groups overlap outputs of earlier ones."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import SCORES_AHEAD, MachineConfig
from hw.array.micro_op import micro_op
from hw.array.output_iterator import OutputIterator
from hw.array.score_iterator import ScoreIterator
from hw.array.token_group import group
from hw.interfaces import ISSUE, LINE_BITS, SOFTMAX_JOB, SOFTMAX_SLOTS, softmax_done, tile_context
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
        word, begin = Signal(INSTRUCTION[Opcode.ATTENTION]), Signal()
        take, step, step_last = Signal(), Signal(3), Signal()
        m.d.comb += [take.eq(self.o.valid & self.o.ready), step_last.eq(step == self.cfg.steps - 1),
                     self.i.ready.eq(~self.busy), begin.eq(self.i.ready & self.i.valid)]
        with m.If(take):
            m.d.sync += step.eq(Mux(step_last, 0, step + 1))

        # Groups whose scores are in progress or done, and finished softmax jobs.
        waiting = m.submodules.waiting = Queue(group(self.cfg), SCORES_AHEAD + 1)
        finished = m.submodules.finished = Queue(softmax_done(self.cfg), 2)
        wiring.connect(m, wiring.flipped(self.i_softmax_done), finished.i)
        scores = m.submodules.scores = ScoreIterator(self.cfg)
        outputs = m.submodules.outputs = OutputIterator(self.cfg)
        for part in (scores, outputs):
            m.d.comb += [part.begin.eq(begin), part.after.eq(self.i.p.word), part.word.eq(word), part.step.eq(step),
                         part.step_last.eq(step_last)]
        wiring.connect(m, wiring.flipped(self.i_multipliers), scores.i_multipliers)
        wiring.connect(m, scores.o_softmax_job, wiring.flipped(self.o_softmax_job))

        turn, final, done = self._turns(m, scores, outputs, waiting.level)
        m.d.comb += [
            scores.group.eq(self.i_group.p), scores.take.eq(take & ~turn), scores.more.eq(self.busy),
            self.no_multipliers.eq(scores.missing), self.i_group.ready.eq(scores.done),
            waiting.i.valid.eq(scores.done), waiting.i.p.eq(self.i_group.p),
            outputs.group.eq(waiting.o.p), outputs.ratio.eq(finished.o.p), outputs.take.eq(take & turn),
            outputs.final.eq(final), waiting.o.ready.eq(outputs.done), finished.o.ready.eq(outputs.done),
        ]
        with m.If(begin):
            m.d.sync += [self.busy.eq(1), word.as_value().eq(self.i.p.word)]
        with m.Elif(done):
            m.d.sync += self.busy.eq(0)

        with m.If(turn):
            m.d.comb += [self.o.p.eq(outputs.plan), self.context.eq(outputs.context),
                         self.o.valid.eq(self.busy & waiting.o.valid & finished.o.valid)]
        with m.Else():
            m.d.comb += [self.o.p.eq(scores.plan), self.context.eq(scores.context),
                         self.o.valid.eq(self.busy & self.i_group.valid & scores.ready)]
        # Independent of the turn; scores do not use the probabilities' place.
        m.d.comb += [self.o.p.step.eq(step), *(self.o.p[name].eq(outputs.plan[name])
                                               for name in ("slot", "chunk", "plane"))]
        return m

    def _turns(self, m, scores: ScoreIterator, outputs: OutputIterator, level) -> tuple[Signal, Signal, Signal]:
        """Whose beat it is: (it is the outputs', their group is the last one, all are done)"""
        turn, scores_over, final, done = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [final.eq(scores_over & (level == 1)), done.eq(outputs.done & final)]
        with m.If(scores.done):
            m.d.sync += [turn.eq(scores.over | (level >= SCORES_AHEAD)), scores_over.eq(scores.over)]
        with m.If(outputs.done):
            m.d.sync += turn.eq(scores_over)
        with m.If(done):
            m.d.sync += [turn.eq(0), scores_over.eq(0)]
        return turn, final, done
