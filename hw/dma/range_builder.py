# SPDX-License-Identifier: Apache-2.0
"""Range builder: joins the prefetcher's chunks of lines into ranges of stream beats long enough for a burst."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.isa import STREAM_BITS
from golden.spec.machine import MachineConfig
from hw.dma.weight_lines import CHUNK, RANGE

PATIENCE = 16
"""Cycles without a new chunk after which a range goes out although it could still grow."""
SETTLE = 31
"""Upper bound of the cycles from a range until its port shows busy; ``starving`` is not valid before."""


class RangeBuilder(wiring.Component):
    """Range builder: joins consecutive chunks and gives every port the same ranges, whole bursts where possible.

    ::

        i -> [granted beats] -> enough for a burst? nothing in flight? patience over? -> [range] -> o[0..P-1]

    A range ends at a multiple of as many stream beats as make ``max_burst`` beats of a port. It goes out earlier when
    the next chunk does not follow it, when ``starving``, or after PATIENCE cycles without a chunk.

    Timing: LATENCY cycles from a chunk to ``o.valid`` when starving; II cycles from range to range. One chunk a cycle.
    Domain: chunks of 1..8 lines, whole stream beats; ``jump`` on the first chunk after reset.
    Reference model: none.

    Members: ``i`` In(stream of CHUNK), ``o[ports]`` Out(stream of RANGE), ``starving`` In, the ports have nothing
    to do; ``granted`` Out, stream beats waiting.
    """

    LATENCY = 4
    II = 4

    i: stream.Interface
    o: list[stream.Interface]
    starving: Signal
    granted: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.group = cfg.max_burst // cfg.share_beats
        super().__init__({
            "i": In(stream.Signature(CHUNK)), "o": Out(stream.Signature(RANGE)).array(cfg.ports),
            "starving": In(1), "granted": Out(range(4 * cfg.ring_lines)),
        })

    def elaborate(self, platform):
        m = Module()
        beat, beats, room = Signal(STREAM_BITS), Signal(RANGE["beats"].width), Signal(RANGE["beats"].width)
        waiting = Signal(self.cfg.ports)
        count, whole, some = Signal.like(beats), Signal(), Signal()
        added, removed = Signal(CHUNK["lines"].width), Signal.like(beats)
        patience, may_jump, push = Signal(range(PATIENCE + 1)), Signal(), Signal()

        below = exact_log2(self.cfg.beat_lines)  # bits of a line's number within its stream beat
        # Consecutive chunks are accepted at any time; a jump waits until everything before it has been sent.
        m.d.comb += [
            self.i.ready.eq(Mux(self.i.payload.jump, may_jump, ~self.granted[-1])),
            push.eq(self.i.valid & self.i.ready), added.eq(Mux(push, self.i.payload.lines >> below, 0)),
        ]
        m.d.sync += self.granted.eq(self.granted + added - removed)
        with m.If(push):
            m.d.sync += patience.eq(PATIENCE)
        with m.Elif(patience != 0):
            m.d.sync += patience.eq(patience - 1)

        hurry, settle, starving = Signal(), Signal(range(SETTLE + 1)), Signal()
        m.d.sync += starving.eq(self.starving & (settle == 0))
        with m.If(settle != 0):
            m.d.sync += settle.eq(settle - 1)
        m.d.comb += hurry.eq(starving | (patience == 0) | self.i.valid & self.i.payload.jump)
        for port, out in enumerate(self.o):
            m.d.comb += [out.payload.beat.eq(beat), out.payload.beats.eq(beats), out.valid.eq(waiting[port])]

        with m.FSM():
            with m.State("MEASURE"):
                m.d.sync += room.eq(self.group - beat[:(self.group - 1).bit_length()])
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [count.eq(self.granted), whole.eq(self.granted >= room), some.eq(self.granted != 0)]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.next = "COMPARE"
                with m.If(whole):
                    m.d.sync += [beats.eq(room), waiting.eq(~0)]
                    m.d.comb += removed.eq(room)
                    m.next = "SEND"
                with m.Elif(some & hurry):
                    m.d.sync += [beats.eq(count), waiting.eq(~0)]
                    m.d.comb += removed.eq(count)
                    m.next = "SEND"
                with m.Elif(self.granted == 0):
                    m.d.comb += may_jump.eq(1)
                    with m.If(push & self.i.payload.jump):
                        m.d.sync += beat.eq(self.i.payload.line >> below)
                        m.next = "MEASURE"
            with m.State("SEND"):
                ready = Cat(out.ready for out in self.o)
                m.d.sync += [waiting.eq(waiting & ~ready), settle.eq(SETTLE), starving.eq(0)]
                with m.If((waiting & ~ready) == 0):
                    m.d.sync += beat.eq(beat + beats)
                    m.next = "MEASURE"
        return m
