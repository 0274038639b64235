# SPDX-License-Identifier: Apache-2.0
"""Entry of the epilogue: finished accumulators with their tile's context, part by part, while there is room."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import MachineConfig
from hw.array.array import drain_beat
from hw.interfaces import Route, tile_context
from hw.lib.queue import Queue


class EpilogueEntry(wiring.Component):
    """Epilogue entry: the active context is replaced in the cycle in which its last beat enters. ::

        i_context -> [queue] -> [context]
        i ---------> [part] --> enters | score_enters

    A lane's parts follow each other: its first asks for two places. Scores enter as whole lanes.
    Timing: LATENCY = 0 from ``i`` to ``enters`` with a context there; II = 2 F parts a lane, 1 for scores, also from
    tile to tile.
    Domain: lanes of a tile ascend.
    Reference model: none, it changes nothing.
    Members: ``i`` In(stream drain_beat), ``i_context`` In(stream tile_context); ``room``, ``raw_room``, ``score_room``
    In, for results, gate accumulators, scores; ``context``, ``part`` Out, of what enters; ``enters``, ``score_enters``,
    ``last`` Out, of its tile; ``holds`` Out: a context is here.
    """

    CONTEXTS_AHEAD = 4
    """Tiles by which loading parameters runs ahead."""
    LATENCY = 0

    i: stream.Interface
    i_context: stream.Interface
    room: Signal
    raw_room: Signal
    score_room: Signal
    context: data.View
    part: Signal
    enters: Signal
    score_enters: Signal
    last: Signal
    holds: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(drain_beat(cfg))), "i_context": In(stream.Signature(tile_context(cfg))),
            "room": In(1), "raw_room": In(1), "score_room": In(1), "context": Out(tile_context(cfg)),
            "part": Out(range(2 * cfg.serialization)), "enters": Out(1), "score_enters": Out(1), "last": Out(1),
            "holds": Out(1)})

    def elaborate(self, platform):
        m = Module()
        ahead = m.submodules.ahead = Queue(tile_context(self.cfg), self.CONTEXTS_AHEAD)
        connect(m, flipped(self.i_context), ahead.i)
        active, inside, ends_lane, is_score = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            inside.eq(self.part != 0), ends_lane.eq(self.part == 2 * self.cfg.serialization - 1),
            self.last.eq((self.enters & ends_lane | self.score_enters) & (self.i.p.lane == self.cfg.tm - 1)),
            ahead.o.ready.eq(~active | self.last), is_score.eq(self.context.route == Route.SOFTMAX),
            self.holds.eq((ahead.level != 0) | active),
            self.i.ready.eq(ends_lane | (active & is_score & self.score_room)),
            self.enters.eq(self.i.valid & (inside | (
                active & ~is_score & self.room & (self.raw_room | (self.context.route != Route.GATE))))),
            self.score_enters.eq(self.i.valid & active & is_score & self.score_room),
        ]
        m.d.sync += self.part.eq(self.part + self.enters)
        with m.If(ahead.o.ready):
            m.d.sync += [active.eq(ahead.o.valid), self.context.eq(ahead.o.p)]
        return m
