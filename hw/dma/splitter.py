# SPDX-License-Identifier: Apache-2.0
"""Burst splitter: cuts transfers into bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.axi import ADDRESS_BITS, BEATS_BITS, BURST, BURST_BITS, MAX_BURST, SIZE, TRANSFER

SPAN_BITS = SIZE + MAX_BURST.bit_length() - 1
"""log2 of the bytes of the longest burst; bursts end at multiples of that, so they never cross 4096 either."""


class BurstSplitter(wiring.Component):
    """Burst splitter: cuts a transfer of any length into bursts that end at multiples of 1024 bytes.

    ::

        i -> [addr, left] -> room = 64 - addr[4:10] -> [beats = min(left, room)] -> o
                  ^-------------- next multiple of 1024, carry a cycle later -----------/

    Timing: LATENCY cycles from ``i`` to the first burst; II cycles from burst to burst. A stalled ``o`` is stable.
    Domain: addresses that are multiples of 16, lengths of at least 1 beat, no wrap (the guards ensure it).
    Reference model: none (arithmetic on Python integers in the bench).

    Members: ``i`` In(stream of TRANSFER), ``o`` Out(stream of BURST), ``busy`` Out, a transfer is inside.
    """

    LATENCY = 2
    II = 3

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self):
        super().__init__({"i": In(stream.Signature(TRANSFER)), "o": Out(stream.Signature(BURST)), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        half = ADDRESS_BITS // 2
        addr, left = Signal(ADDRESS_BITS, reset_less=True), Signal(BEATS_BITS)
        beats = Signal(BURST_BITS)
        room = Signal(BURST_BITS)
        carry, last = Signal(), Signal()
        m.d.comb += [
            room.eq(MAX_BURST - addr[SIZE:SPAN_BITS]),
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
                m.d.sync += [Cat(addr[SPAN_BITS:half], carry).eq(addr[SPAN_BITS:half] + 1), addr[:SPAN_BITS].eq(0)]
                m.next = "MEASURE"
        return m
