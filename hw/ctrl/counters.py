# SPDX-License-Identifier: Apache-2.0
"""Performance counters, read through the register map."""

from amaranth.hdl import Array, Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

EVENT_BITS = 3


class Counters(wiring.Component):
    """Performance counters: ``count`` of 64 bits; each adds its event in every cycle.

    ::

        event -> [+ low 32] -carry-> [+ high 32]
                      \\-> select -> [o] <- [snapshot] <- select <-/      (the high half a cycle after the low half)

    The carry reaches the high half a cycle late, which is when the snapshot is taken, so both halves are consistent.

    Timing: LATENCY cycles from ``read`` to ``o``. Reading the low half takes the snapshot that reading the high half
    returns.
    Domain: at least two cycles between reads.
    Reference model: none.

    Members: ``event[count]`` In, ``clear`` In; ``read`` In, ``select`` In, ``high`` In, ``o`` Out.
    """

    LATENCY = 2

    event: Signal
    clear: Signal
    read: Signal
    select: Signal
    high: Signal
    o: Signal

    def __init__(self, count: int):
        self.count = count
        super().__init__({
            "event": In(data.ArrayLayout(unsigned(EVENT_BITS), count)), "clear": In(1),
            "read": In(1), "select": In(range(count)), "high": In(1), "o": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        lows, highs = [], []
        for n in range(self.count):
            low, high, carry = Signal(32, name=f"low{n}"), Signal(32, name=f"high{n}"), Signal(name=f"carry{n}")
            event = Signal(EVENT_BITS, name=f"event{n}")
            m.d.sync += [event.eq(self.event[n]), Cat(low, carry).eq(low + event), high.eq(high + carry)]
            with m.If(self.clear):
                m.d.sync += [event.eq(0), low.eq(0), high.eq(0), carry.eq(0)]
            lows.append(low)
            highs.append(high)

        s1_read, s1_high, s1_select, s1_low = Signal(), Signal(), Signal.like(self.select), Signal(32)
        snapshot = Signal(32)
        m.d.sync += [s1_read.eq(self.read), s1_high.eq(self.high), s1_select.eq(self.select),
                     s1_low.eq(Array(lows)[self.select])]
        with m.If(s1_read):
            with m.If(s1_high):
                m.d.sync += self.o.eq(snapshot)
            with m.Else():
                m.d.sync += [self.o.eq(s1_low), snapshot.eq(Array(highs)[s1_select])]
        return m
