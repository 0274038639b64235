# SPDX-License-Identifier: Apache-2.0
"""Bus timer: detects a bus that has stopped answering, and one that may still send unrequested responses."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.regs import DRAIN_LIMITS


class BusTimer(wiring.Component):
    """Bus timer: pulses ``expired`` after ``limit`` cycles in which the bus owes a handshake and makes none.

    A bus that broke the protocol is in ``doubt``: how many responses are still to come can no longer be
    counted. When every requested response has arrived, the timer listens, ``limit`` cycles at a time: the first
    such window without another violation ends the doubt; when DRAIN_LIMITS of them were noisy, ``expired`` pulses, and
    listening goes on.

    Timing: LATENCY cycles after the last idle cycle allowed. It reloads then, and whenever ``halt`` rises, so that a
    drain has the whole limit to itself. ``doubt`` rises a cycle after ``violated``.
    Domain: any limit.
    Reference model: none.

    Members: ``limit`` In, ``owed`` In, the bus must make a handshake, ``moved`` In, one happened, ``asked`` In,
    a request is not fully answered, ``violated`` In, a response came that the protocol forbids, ``halt`` In,
    ``expired`` Out, ``doubt`` Out.
    """

    LATENCY = 2

    limit: Signal
    owed: Signal
    moved: Signal
    asked: Signal
    violated: Signal
    halt: Signal
    expired: Signal
    doubt: Signal

    def __init__(self):
        super().__init__({"limit": In(32), "owed": In(1), "moved": In(1), "asked": In(1), "violated": In(1),
                          "halt": In(1), "expired": Out(1), "doubt": Out(1)})

    def elaborate(self, platform):
        m = Module()
        left, over, closed = Signal(32), Signal(), Signal()
        s1_halt, waiting, listening = Signal(), Signal(), Signal()
        noisy, windows = Signal(), Signal(range(DRAIN_LIMITS))
        m.d.sync += [s1_halt.eq(self.halt), self.expired.eq(0), over.eq(0), closed.eq(0),
                     waiting.eq(self.owed & ~self.moved), listening.eq(self.doubt & ~self.asked)]
        with m.If(~(waiting | listening) | (self.halt & ~s1_halt) | over):
            m.d.sync += left.eq(self.limit)
        with m.Elif(left == 0):
            m.d.sync += [over.eq(1), closed.eq(listening), self.expired.eq(waiting)]
        with m.Else():
            m.d.sync += left.eq(left - 1)

        # The end of a window is acted on a cycle later; a violation in that cycle still counts.
        with m.If(~listening):
            m.d.sync += [noisy.eq(0), windows.eq(0)]
        with m.Elif(closed):
            m.d.sync += [noisy.eq(0), windows.eq(windows + 1), self.doubt.eq(noisy)]
            with m.If(noisy & (windows == DRAIN_LIMITS - 1)):
                m.d.sync += [windows.eq(0), self.expired.eq(1)]
        with m.If(self.violated):
            m.d.sync += [self.doubt.eq(1), noisy.eq(listening)]
        return m
