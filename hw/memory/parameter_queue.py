# SPDX-License-Identifier: Apache-2.0
"""Parameter queue: stream beats with parameter records in, the lines of the records out."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from hw.interfaces import LINE_BITS
from hw.lib.queue import Queue


class ParameterQueue(wiring.Component):
    """Parameter queue: up to ``lines`` lines of parameters; records of ``record`` lines come filled up to whole stream
    beats and leave without what fills them up.

    ::

        i -> [queue of beats] -> [beat being handed out] -> o
                      \\-> release

    With beats of one line it is the queue alone.

    Timing: LATENCY cycles from a transfer at ``i`` into an empty queue to ``o.valid``; II = 1 line. A stalled ``o``
    keeps its payload.
    Domain: whole records; ``lines`` a multiple of a beat's.
    Reference model: none, it drops what ``golden.spec.tiling`` calls filling.

    Members: ``i`` In(stream of a beat), ``o`` Out(stream of LINE_BITS), ``release`` Out, room for a beat became free.
    """

    II = 1

    i: stream.Interface
    o: stream.Interface
    release: Signal

    def __init__(self, cfg: MachineConfig, *, lines: int, record: int):
        self.cfg, self.record = cfg, record
        self._queue = Queue(cfg.beat_lines * LINE_BITS, lines // cfg.beat_lines)
        self.LATENCY = self._queue.LATENCY + (cfg.beat_lines > 1)
        super().__init__({
            "i": In(stream.Signature(cfg.beat_lines * LINE_BITS)), "o": Out(stream.Signature(LINE_BITS)),
            "release": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self._queue
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        m.d.comb += self.release.eq(queue.o.valid & queue.o.ready)
        beat_lines = self.cfg.beat_lines
        if beat_lines == 1:
            wiring.connect(m, queue.o, wiring.flipped(self.o))
            return m

        # Lines of the beat that are still to go, the next one lowest; which beat of its record the queue's head is.
        beat, left = Signal(beat_lines * LINE_BITS, reset_less=True), Signal(range(beat_lines + 1))
        beats = self.cfg.whole_beats(self.record) // beat_lines
        number, last = Signal(range(beats)), Signal()
        m.d.comb += [
            last.eq(number == beats - 1), self.o.valid.eq(left != 0), self.o.payload.eq(beat[:LINE_BITS]),
            queue.o.ready.eq((left == 0) | (left == 1) & self.o.ready),
        ]
        with m.If(self.release):
            m.d.sync += [
                beat.eq(queue.o.payload), number.eq(Mux(last, 0, number + 1)),
                left.eq(Mux(last, self.record - (beats - 1) * beat_lines, beat_lines)),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [beat.eq(beat >> LINE_BITS), left.eq(Mux(left == 0, 0, left - 1))]
        return m
