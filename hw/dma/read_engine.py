# SPDX-License-Identifier: Apache-2.0
"""Read engine: AXI reads of DRAM, transfers in, beats out, several bursts outstanding."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import BEAT_BYTES, MAX_BURST
from golden.spec.status import Status
from hw.axi import ADDRESS_BITS, BURST, TRANSFER, Response, axi_read
from hw.dma.bus_timer import BusTimer
from hw.dma.response_check import check_response
from hw.dma.splitter import BurstSplitter
from hw.dma.window_guard import WindowGuard
from hw.lib.queue import Queue

DEPTH = 512
"""Beats that an engine has room for, requested or waiting."""


def outstanding(max_burst: int) -> int:
    """Bursts of which an engine waits for beats at the same time: at least 16, and as many as fill its room."""
    return max(16, DEPTH // max_burst)


class ReadEngine(wiring.Component):
    """Read engine: reads ``beats`` beats from ``addr`` on for each transfer, in order.

    ::

        i -> [guard: whole transfer] -> [splitter] -> [guard: on the wire] -> [AR register] -> AR
                                                                 \\-> [bursts outstanding]
        R -> [register] -> response, RLAST against the oldest burst -> [data queue] -> o

    A burst is issued only when the queue has room for all of it, so RREADY is always high. After the first fault, and
    while ``halt``, no burst is issued and what still arrives is counted and dropped. A burst is over when as many beats
    as it requested have come, whatever RLAST is. After a wrong RLAST or an unrequested beat it is unknown how many are
    still to come: the engine is ``quiet`` again only when the bus timer has no doubt any more.

    Timing: one beat a cycle, as long as ``depth`` beats cover the bus's latency. LATENCY cycles from a transfer at
    ``i`` to ARVALID when nothing is before it. A stalled ``o`` stops new bursts, never RREADY.
    Domain: addresses and lengths of whole beats of ``beat_bytes``; anything else is refused by the guards. No burst has
    more than ``max_burst`` beats.
    Reference model: the DRAM of the simulated board.

    Members: ``i`` In(stream of TRANSFER), ``o`` Out(stream of a beat), ``lo``, ``hi`` In, the window; ``limit`` In, of
    the bus timer; ``halt`` In; ``quiet`` Out, no response is outstanding or will come; ``expired`` Out, the bus
    timer's pulse, with the outstanding beat in ``fault_addr``; ``fault``, ``fault_code``, ``fault_addr`` Out;
    ``beat`` Out, a pulse for each beat read; ``axi`` Out(axi_read).
    """

    LATENCY = 2 * WindowGuard.LATENCY + BurstSplitter.LATENCY + 1

    i: stream.Interface
    o: stream.Interface
    lo: Signal
    hi: Signal
    limit: Signal
    halt: Signal
    quiet: Signal
    expired: Signal
    fault: Signal
    fault_code: Signal
    fault_addr: Signal
    beat: Signal
    axi: wiring.PureInterface

    def __init__(self, *, depth: int = DEPTH, beat_bytes: int = BEAT_BYTES, max_burst: int = MAX_BURST,
                 bursts: int | None = None):
        if depth < 2 * max_burst:
            raise ValueError(f"A read engine holds at least two bursts, {2 * max_burst} beats, not {depth}.")
        self.depth = depth
        self.beat_bytes, self.max_burst = beat_bytes, max_burst
        self.bursts = bursts or outstanding(max_burst)
        super().__init__({
            "i": In(stream.Signature(TRANSFER)), "o": Out(stream.Signature(8 * beat_bytes)),
            "lo": In(ADDRESS_BITS), "hi": In(ADDRESS_BITS), "limit": In(32), "halt": In(1),
            "quiet": Out(1), "expired": Out(1),
            "fault": Out(1), "fault_code": Out(8), "fault_addr": Out(ADDRESS_BITS),
            "beat": Out(1), "axi": Out(axi_read(beat_bytes)),
        })

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        m.submodules.check = check = WindowGuard(TRANSFER, beat_bytes=self.beat_bytes)
        m.submodules.splitter = splitter = BurstSplitter(beat_bytes=self.beat_bytes, max_burst=self.max_burst)
        m.submodules.guard = guard = WindowGuard(BURST, beat_bytes=self.beat_bytes)
        m.submodules.issued = issued = Queue(BURST, self.bursts - 1)  # and the oldest in a register
        m.submodules.data = queue = Queue(8 * self.beat_bytes, self.depth)
        m.submodules.timer = timer = BusTimer()
        wiring.connect(m, wiring.flipped(self.i), check.i)
        wiring.connect(m, check.o, splitter.i)
        wiring.connect(m, splitter.o, guard.i)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        for unit in (check, guard):
            m.d.comb += [unit.lo.eq(self.lo), unit.hi.eq(self.hi)]

        # Address channel: a register; a burst enters when the data queue has room for all of it.
        space, enough = Signal(range(self.depth + 1), init=self.depth), Signal()
        poisoned, take = Signal(), Signal()
        m.d.comb += [
            take.eq(guard.o.valid & guard.o.ready),
            guard.o.ready.eq(enough & ~axi.arvalid & issued.i.ready & ~self.halt & ~poisoned),
            issued.i.payload.eq(guard.o.payload), issued.i.valid.eq(take),
        ]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.If(take):
            m.d.sync += [axi.arvalid.eq(1), axi.araddr.eq(guard.o.payload.addr),
                         axi.arlen.eq(guard.o.payload.beats - 1)]
        # The guard needs several cycles a burst, so `enough` is never stale when it offers one.
        popped = Signal()
        m.d.comb += popped.eq(queue.o.valid & queue.o.ready)
        m.d.sync += [space.eq(space + popped - Mux(take, guard.o.payload.beats, 0)), enough.eq(space >= self.max_burst)]

        # Stage 1: the data channel, registered.
        s1_valid, s1_last, s1_resp = Signal(), Signal(), Signal(Response.as_shape())
        s1_data = Signal(8 * self.beat_bytes, reset_less=True)
        m.d.comb += axi.rready.eq(1)
        m.d.sync += [s1_valid.eq(axi.rvalid), s1_last.eq(axi.rlast), s1_resp.eq(axi.rresp), s1_data.eq(axi.rdata)]

        # Stage 2: against the oldest burst whose address was taken.
        current, current_valid = Signal(BURST, reset_less=True), Signal()
        taken, asked, final, ends = Signal(range(self.bursts + 1)), Signal(), Signal(), Signal()
        m.d.comb += [
            asked.eq(current_valid & (taken != 0)), final.eq(current.beats == 1),
            ends.eq(s1_valid & asked & final), issued.o.ready.eq(~current_valid | ends),
        ]
        with m.If(issued.o.ready):
            m.d.sync += [current.eq(issued.o.payload), current_valid.eq(issued.o.valid)]
        with m.Elif(s1_valid & asked):
            beat = current.addr[splitter.size:splitter.span]
            m.d.sync += [current.beats.eq(current.beats - 1), beat.eq(beat + 1)]
        m.d.sync += taken.eq(taken + (axi.arvalid & axi.arready) - ends)

        wrong, code = check_response(m, s1_valid, s1_resp, asked=asked, ends_well=s1_last == final,
                                     slverr=Status.R_SLVERR, decerr=Status.R_DECERR)
        m.d.comb += [queue.i.payload.eq(s1_data), queue.i.valid.eq(s1_valid & ~wrong & ~self.halt & ~poisoned)]
        m.d.sync += self.beat.eq(s1_valid)

        # Faults; a response goes before a refusal.
        m.d.sync += self.fault.eq(wrong | check.fault | guard.fault)
        with m.If(wrong | check.fault | guard.fault):
            m.d.sync += poisoned.eq(1)
        m.d.sync += [self.fault_code.eq(Status.RANGE_READ),
                     self.fault_addr.eq(Mux(guard.fault, guard.fault_addr, check.fault_addr))]
        with m.If(wrong):
            m.d.sync += [self.fault_code.eq(code), self.fault_addr.eq(current.addr)]
        m.d.sync += self.expired.eq(timer.expired)
        with m.If(timer.expired):
            m.d.sync += self.fault_addr.eq(current.addr)

        owing = Signal()
        m.d.comb += [
            owing.eq(axi.arvalid | (taken != 0)),
            timer.limit.eq(self.limit), timer.halt.eq(self.halt), timer.owed.eq(owing), timer.asked.eq(owing),
            timer.moved.eq(axi.arvalid & axi.arready | s1_valid & asked),
            timer.violated.eq(s1_valid & (~asked | (s1_last != final))),
        ]
        m.d.sync += self.quiet.eq(~owing & ~take & ~axi.rvalid & ~s1_valid & ~timer.doubt)
        return m
