# SPDX-License-Identifier: Apache-2.0
"""Window guard: passes only transfers and bursts inside the host's address window."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.machine import BEAT_BYTES
from hw.axi import ADDRESS_BITS, BURST

HALF = ADDRESS_BITS // 2


class WindowGuard(wiring.Component):
    """Window guard: passes an item only if all its bytes lie in [lo, hi); the first other one blocks all that follow.

    It computes the end of every item (burst or transfer) itself, with carry, so that neither a wrong splitter nor a
    wrap at the top of the address space gets past. ``o.valid`` is high only in state SEND, entered only through
    ``inside``.

    ::

        i -> [item] -> [end, low half] -> [end, high half] -> [four half comparisons] -> inside? -> SEND -> o
                                                                                          \\-> BLOCKED, fault

    Timing: LATENCY cycles from a transfer at ``i`` to ``o.valid``; II per item, as it holds one at a time. A stalled
    ``o`` is stable.
    Domain: any address and length in beats of ``beat_bytes``; ``lo`` and ``hi`` stable while an item is inside.
    Reference model: none (arithmetic on Python integers in the bench).

    Members: ``i`` In(stream of ``shape``), ``o`` Out(the same), ``lo``, ``hi`` In, ``busy`` Out, an item is inside,
    ``fault`` Out, one pulse, ``fault_addr`` Out, where the refused item began.
    """

    LATENCY = 5
    II = 6

    i: stream.Interface
    o: stream.Interface
    lo: Signal
    hi: Signal
    busy: Signal
    fault: Signal
    fault_addr: Signal

    def __init__(self, shape: data.StructLayout = BURST, *, beat_bytes: int = BEAT_BYTES):
        self.shape = shape
        self.beat_bytes = beat_bytes
        super().__init__({
            "i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
            "lo": In(ADDRESS_BITS), "hi": In(ADDRESS_BITS),
            "busy": Out(1), "fault": Out(1), "fault_addr": Out(ADDRESS_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        item = Signal(self.shape, reset_less=True)
        m.d.comb += [self.o.payload.eq(item), self.fault_addr.eq(item.addr)]
        m.d.sync += self.fault.eq(0)

        end_low, end_high = Signal(HALF + 1), Signal(HALF + 1)
        addr_low, addr_high = item.addr[:HALF], item.addr[HALF:]
        lo_above, lo_equal, lo_low = Signal(), Signal(), Signal()
        hi_above, hi_equal, hi_low = Signal(), Signal(), Signal()
        legal, inside = Signal(), Signal()
        m.d.comb += inside.eq(legal & (lo_above | lo_equal & lo_low) & (hi_above | hi_equal & hi_low))

        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("ACCEPT"):
                m.d.comb += [self.busy.eq(0), self.i.ready.eq(1)]
                m.d.sync += item.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "END_LOW"
            with m.State("END_LOW"):
                m.d.sync += end_low.eq(addr_low + item.beats * self.beat_bytes)
                m.next = "END_HIGH"
            with m.State("END_HIGH"):
                m.d.sync += end_high.eq(addr_high + end_low[HALF])
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [
                    lo_above.eq(addr_high > self.lo[HALF:]),
                    lo_equal.eq(addr_high == self.lo[HALF:]),
                    lo_low.eq(addr_low >= self.lo[:HALF]),
                    hi_above.eq(end_high[:HALF] < self.hi[HALF:]),
                    hi_equal.eq(end_high[:HALF] == self.hi[HALF:]),
                    hi_low.eq(end_low[:HALF] <= self.hi[:HALF]),
                    legal.eq(~end_high[HALF] & (item.beats != 0) & ~item.addr[:exact_log2(self.beat_bytes)].any()),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(inside):
                    m.next = "SEND"
                with m.Else():
                    m.d.sync += self.fault.eq(1)
                    m.next = "BLOCKED"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "ACCEPT"
            with m.State("BLOCKED"):
                pass
        return m
