# SPDX-License-Identifier: Apache-2.0
"""Notices a bus that has stopped answering."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class BusTimer(wiring.Component):
    """Pulses ``expired`` when ``limit`` cycles pass in which the bus owes a handshake and makes none.

    Timing: LATENCY cycles after the last idle cycle allowed. It reloads then, and whenever ``halt`` rises, so that a
    drain has the whole limit to itself.
    Domain: any limit.
    Twin: none.

    Members: ``limit`` In, ``owed`` In, ``moved`` In, a handshake happened, ``halt`` In, ``expired`` Out.
    """

    LATENCY = 2

    limit: Signal
    owed: Signal
    moved: Signal
    halt: Signal
    expired: Signal

    def __init__(self):
        super().__init__({"limit": In(32), "owed": In(1), "moved": In(1), "halt": In(1), "expired": Out(1)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(32)
        s1_halt, waiting = Signal(), Signal()
        m.d.sync += [s1_halt.eq(self.halt), waiting.eq(self.owed & ~self.moved), self.expired.eq(0)]
        with m.If(~waiting | (self.halt & ~s1_halt) | self.expired):
            m.d.sync += left.eq(self.limit)
        with m.Elif(left == 0):
            m.d.sync += self.expired.eq(1)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        return m
