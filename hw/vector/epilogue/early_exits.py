# SPDX-License-Identifier: Apache-2.0
"""What leaves the epilogue before its end: scores for the softmax as they are, accumulators of the gate with bias."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import LANES, SLICE, TN, MachineConfig
from hw.interfaces import GATE_BEAT, TOKEN_BITS, lane_bits, score_beat
from hw.lib.queue import Queue
from hw.vector.parts import half


class ScoreExit(wiring.Component):
    """Whole lanes of scores in, halves that hold a key out. ::

        lane -> [queue] -> [half] -> o

    Timing: LATENCY = 2 from ``enters`` to ``o``; II = 1 in, a cycle out for each half that holds a key. ``room`` is a
    cycle old and counts two places.
    Domain: nothing enters without ``room``.
    Reference model: none, it changes nothing.
    Members: ``enters``, ``present`` (an absent lane is dropped), ``keys``, ``tile``, ``lane``, ``value`` In; ``room``,
    ``holds`` Out; ``o`` Out(stream score_beat).
    """

    DEPTH = 32
    """Lanes of scores, so that the array gets rid of a group's at its own pace."""
    LATENCY = 2

    enters: Signal
    present: Signal
    keys: Signal
    tile: Signal
    lane: Signal
    value: data.View
    room: Signal
    holds: Signal
    o: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.shape = data.StructLayout({
            "value": data.ArrayLayout(signed(32), TN), "lane": unsigned(lane_bits(cfg)), "tile": unsigned(7),
            "both": 1})
        super().__init__({
            "enters": In(1), "present": In(1), "keys": In(TOKEN_BITS), "tile": In(8), "lane": In(lane_bits(cfg)),
            "value": In(self.shape.members["value"]), "room": Out(1), "holds": Out(1),
            "o": Out(stream.Signature(score_beat(cfg)))})

    def elaborate(self, platform):
        m = Module()
        queue = m.submodules.queue = Queue(self.shape, self.DEPTH)
        into, out, score, second = queue.i.p, queue.o.p, self.o, Signal()
        first_keys = [Cat(Const(n * SLICE, TN.bit_length() - 1), self.tile) for n in range(2)]
        m.d.comb += [
            queue.i.valid.eq(self.enters & self.present & (first_keys[0] < self.keys)), into.value.eq(self.value),
            into.lane.eq(self.lane), into.tile.eq(self.tile), into.both.eq(first_keys[1] < self.keys),
            score.valid.eq(queue.o.valid), score.p.chunk.eq(Cat(second, out.tile)), score.p.lane.eq(out.lane),
            queue.o.ready.eq(score.ready & (second | ~out.both)), self.holds.eq(queue.level != 0),
        ]
        for n in range(LANES):
            m.d.comb += score.p.value[n].eq(Mux(second, out.value[LANES + n], out.value[n]))
        with m.If(score.valid & score.ready):
            m.d.sync += second.eq(~second & out.both)
        m.d.sync += self.room.eq(queue.level <= self.DEPTH - 3)
        return m


class GateExit(wiring.Component):
    """Parts of the gate's accumulators in, halves out. ::

        part -> [half] -> [queue] -> o

    Timing: LATENCY = 2 from a half's last part to ``o``; II = 1 part. ``room`` is a cycle old and counts what is on the
    ``way`` here: two places asked for, halves between the entry and this queue, and the delays of level and room.
    Domain: nothing enters without ``room``.
    Reference model: none, it changes nothing.
    Members: ``ends`` In, a wanted half ends; ``value``, ``low``, ``tile`` In; ``room``, ``holds`` Out; ``o`` Out(stream
    GATE_BEAT).
    """

    DEPTH = 16
    LATENCY = 2

    ends: Signal
    value: data.View
    low: Signal
    tile: Signal
    room: Signal
    holds: Signal
    o: stream.Interface

    def __init__(self, cfg: MachineConfig, way: int = 1):
        self.cfg, self.way = cfg, way
        super().__init__({
            "ends": In(1), "value": In(data.ArrayLayout(signed(32), cfg.lanes)), "low": In(1),
            "tile": In(GATE_BEAT.members["tile"]), "room": Out(1), "holds": Out(1),
            "o": Out(stream.Signature(GATE_BEAT))})

    def elaborate(self, platform):
        m = Module()
        queue = m.submodules.queue = Queue(GATE_BEAT, self.DEPTH)
        into = queue.i.p
        m.d.comb += [queue.i.valid.eq(self.ends), into.value.as_value().eq(half(m, self.cfg, "value", self.value)),
                     into.low.eq(self.low), into.tile.eq(self.tile), self.holds.eq(queue.level != 0)]
        m.d.sync += self.room.eq(queue.level <= self.DEPTH - 5 - self.way)
        connect(m, queue.o, flipped(self.o))
        return m
