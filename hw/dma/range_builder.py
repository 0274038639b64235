# SPDX-License-Identifier: Apache-2.0
"""Range builder: joins the prefetcher's chunks into ranges long enough for a burst."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

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

        i -> [granted lines] -> enough for a burst? nothing in flight? patience over? -> [range] -> o[0..P-1]

    A range ends at a multiple of ``max_burst`` beats of the stream. It goes out earlier when the next chunk does not
    follow it, when ``starving``, or after PATIENCE cycles without a chunk.

    Timing: LATENCY cycles from a chunk to ``o.valid`` when starving; II cycles from range to range. One chunk a cycle.
    Domain: chunks of 1..8 lines; ``jump`` on the first chunk after reset.
    Reference model: none.

    Members: ``i`` In(stream of CHUNK), ``o[ports]`` Out(stream of RANGE), ``starving`` In, the ports have nothing
    to do; ``granted`` Out, lines waiting.
    """

    LATENCY = 4
    II = 4

    i: stream.Interface
    o: list[stream.Interface]
    starving: Signal
    granted: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.group = cfg.max_burst // cfg.beats_per_line
        super().__init__({
            "i": In(stream.Signature(CHUNK)), "o": Out(stream.Signature(RANGE)).array(cfg.ports),
            "starving": In(1), "granted": Out(range(4 * cfg.ring_lines)),
        })

    def elaborate(self, platform):
        m = Module()
        line, lines, room = Signal(STREAM_BITS), Signal(RANGE["lines"].width), Signal(RANGE["lines"].width)
        waiting = Signal(self.cfg.ports)
        count, whole, some = Signal.like(lines), Signal(), Signal()
        added, removed = Signal(CHUNK["lines"].width), Signal.like(lines)
        patience, may_jump, push = Signal(range(PATIENCE + 1)), Signal(), Signal()

        # Consecutive chunks are accepted at any time; a jump waits until everything before it has been sent.
        m.d.comb += [
            self.i.ready.eq(Mux(self.i.payload.jump, may_jump, ~self.granted[-1])),
            push.eq(self.i.valid & self.i.ready), added.eq(Mux(push, self.i.payload.lines, 0)),
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
            m.d.comb += [out.payload.line.eq(line), out.payload.lines.eq(lines), out.valid.eq(waiting[port])]

        with m.FSM():
            with m.State("MEASURE"):
                m.d.sync += room.eq(self.group - line[:(self.group - 1).bit_length()])
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [count.eq(self.granted), whole.eq(self.granted >= room), some.eq(self.granted != 0)]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.next = "COMPARE"
                with m.If(whole):
                    m.d.sync += [lines.eq(room), waiting.eq(~0)]
                    m.d.comb += removed.eq(room)
                    m.next = "SEND"
                with m.Elif(some & hurry):
                    m.d.sync += [lines.eq(count), waiting.eq(~0)]
                    m.d.comb += removed.eq(count)
                    m.next = "SEND"
                with m.Elif(self.granted == 0):
                    m.d.comb += may_jump.eq(1)
                    with m.If(push & self.i.payload.jump):
                        m.d.sync += line.eq(self.i.payload.line)
                        m.next = "MEASURE"
            with m.State("SEND"):
                ready = Cat(out.ready for out in self.o)
                m.d.sync += [waiting.eq(waiting & ~ready), settle.eq(SETTLE), starving.eq(0)]
                with m.If((waiting & ~ready) == 0):
                    m.d.sync += line.eq(line + lines)
                    m.next = "MEASURE"
        return m
