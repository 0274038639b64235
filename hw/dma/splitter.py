# SPDX-License-Identifier: Apache-2.0
"""Burst splitter: cuts transfers into bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.machine import BEAT_BYTES, MAX_BURST
from hw.axi import ADDRESS_BITS, BEATS_BITS, BURST, BURST_BITS, TRANSFER


class BurstSplitter(wiring.Component):
    """Burst splitter: cuts a transfer of any length into bursts that end at multiples of ``max_burst`` beats.

    Those are 256 to 2048 bytes, so no burst crosses a multiple of 4096.

    ::

        i -> [addr, left] -> room to the next multiple -> [beats = min(left, room)] -> o
                  ^-------------- next multiple, carry a cycle later ------------------/

    Timing: LATENCY cycles from ``i`` to the first burst; II cycles from burst to burst. A stalled ``o`` is stable.
    Domain: addresses that are multiples of ``beat_bytes``, lengths of at least 1 beat, no wrap (the guards ensure it).
    Reference model: none (arithmetic on Python integers in the bench).

    Members: ``i`` In(stream of TRANSFER), ``o`` Out(stream of BURST), ``busy`` Out, a transfer is inside. ``size`` and
    ``span`` are log2 of the bytes of a beat and of the longest burst.
    """

    LATENCY = 2
    II = 3

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, *, beat_bytes: int = BEAT_BYTES, max_burst: int = MAX_BURST):
        self.max_burst = max_burst
        self.size, self.span = exact_log2(beat_bytes), exact_log2(beat_bytes * max_burst)
        super().__init__({"i": In(stream.Signature(TRANSFER)), "o": Out(stream.Signature(BURST)), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        half, span = ADDRESS_BITS // 2, self.span
        addr, left = Signal(ADDRESS_BITS, reset_less=True), Signal(BEATS_BITS)
        beats = Signal(BURST_BITS)
        room = Signal(BURST_BITS)
        carry, last = Signal(), Signal()
        m.d.comb += [
            room.eq(self.max_burst - addr[self.size:span]),
            self.o.payload.addr.eq(addr), self.o.payload.beats.eq(beats),
            self.busy.eq(1),
        ]
        with m.FSM():
            with m.State("ACCEPT"):
                m.d.comb += [self.busy.eq(0), self.i.ready.eq(1)]
                m.d.sync += [addr.eq(self.i.payload.addr), left.eq(self.i.payload.beats)]
                with m.If(self.i.valid):
                    m.next = "MEASURE"
            with m.State("MEASURE"):
                # The carry of the address's lower half arrives here, a cycle after the lower half itself.
                m.d.sync += [
                    addr[half:].eq(addr[half:] + carry), carry.eq(0),
                    beats.eq(Mux(left < room, left[:BURST_BITS], room)), last.eq(left <= room),
                ]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += left.eq(left - beats)
                    m.next = "ADVANCE"
                    with m.If(last):
                        m.next = "ACCEPT"
            with m.State("ADVANCE"):
                m.d.sync += [Cat(addr[span:half], carry).eq(addr[span:half] + 1), addr[:span].eq(0)]
                m.next = "MEASURE"
        return m
