# SPDX-License-Identifier: Apache-2.0
"""Write engine: AXI writes to DRAM, transfers and beats in, acknowledged bursts out."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MAX_BURST
from golden.spec.status import Status
from hw.axi import ADDRESS_BITS, BEAT_BITS, BEAT_BYTES, BURST, BURST_BITS, TRANSFER, AxiWrite, Response
from hw.dma.bus_timer import BusTimer
from hw.dma.response_check import check_response
from hw.dma.splitter import BurstSplitter
from hw.dma.window_guard import WindowGuard
from hw.lib.queue import Queue

W_BEAT = data.StructLayout({"data": BEAT_BITS, "strb": BEAT_BYTES, "last": 1})


class WriteEngine(wiring.Component):
    """Write engine: writes the beats of ``i_data`` to ``beats`` beats from ``addr`` on for each transfer, in order.

    ::

        i -> [guard: whole transfer] -> [splitter] -> [guard: on the wire] -> [AW register] -> AW
                                                        |   \\-> [addresses outstanding] --> B -> response, fault
        i_data ---------------------> [beats left of the burst] -> [two registers] -> W

    While ``halt`` (and after the first fault, until the supervisor halts) no burst is issued; bursts whose address has
    been issued are completed with zero strobes, so that nothing of an aborted job is written any more. A response
    counts only when the address and the last beat of a burst have been taken; after any other one the engine is
    ``quiet`` only when the bus timer has no doubt any more.

    Timing: one beat a cycle. LATENCY cycles from a transfer at ``i`` to AWVALID when nothing is before it. WVALID never
    waits for AWREADY. BREADY is always high.
    Domain: addresses and lengths of whole beats; anything else is refused by the guards. No burst has more than
    ``max_burst`` beats.
    Reference model: the DRAM of the simulated board.

    Members: ``i`` In(stream of TRANSFER), ``i_data`` In(stream of a beat), ``lo``, ``hi`` In, the window; ``limit``
    In, of the bus timer; ``halt`` In; ``quiet`` Out, no response is outstanding or will come; ``idle`` Out,
    all transfers are acknowledged; ``expired`` Out, with the outstanding burst in ``fault_addr``; ``fault``,
    ``fault_code``, ``fault_addr`` Out; ``beat`` Out, a pulse for each beat; ``axi`` Out(AxiWrite).
    """

    LATENCY = 2 * WindowGuard.LATENCY + BurstSplitter.LATENCY + 1

    i: stream.Interface
    i_data: stream.Interface
    lo: Signal
    hi: Signal
    limit: Signal
    halt: Signal
    quiet: Signal
    idle: Signal
    expired: Signal
    fault: Signal
    fault_code: Signal
    fault_addr: Signal
    beat: Signal
    axi: wiring.PureInterface

    def __init__(self, *, bursts: int = 16, max_burst: int = MAX_BURST):
        self.max_burst = max_burst
        self.bursts = bursts
        super().__init__({
            "i": In(stream.Signature(TRANSFER)), "i_data": In(stream.Signature(BEAT_BITS)),
            "lo": In(ADDRESS_BITS), "hi": In(ADDRESS_BITS), "limit": In(32), "halt": In(1),
            "quiet": Out(1), "idle": Out(1), "expired": Out(1),
            "fault": Out(1), "fault_code": Out(8), "fault_addr": Out(ADDRESS_BITS),
            "beat": Out(1), "axi": Out(AxiWrite),
        })

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        m.submodules.check = check = WindowGuard(TRANSFER)
        m.submodules.splitter = splitter = BurstSplitter(max_burst=self.max_burst)
        m.submodules.guard = guard = WindowGuard(BURST)
        m.submodules.started = started = Queue(BURST_BITS, 4)
        m.submodules.issued = issued = Queue(ADDRESS_BITS, self.bursts)
        m.submodules.w = w = Queue(W_BEAT, 2)
        m.submodules.timer = timer = BusTimer()
        wiring.connect(m, wiring.flipped(self.i), check.i)
        wiring.connect(m, check.o, splitter.i)
        wiring.connect(m, splitter.o, guard.i)
        for unit in (check, guard):
            m.d.comb += [unit.lo.eq(self.lo), unit.hi.eq(self.hi)]

        # Address channel: a register.
        poisoned, take = Signal(), Signal()
        m.d.comb += [
            take.eq(guard.o.valid & guard.o.ready),
            guard.o.ready.eq(~axi.awvalid & started.i.ready & issued.i.ready & ~self.halt & ~poisoned),
            started.i.payload.eq(guard.o.payload.beats), started.i.valid.eq(take),
            issued.i.payload.eq(guard.o.payload.addr), issued.i.valid.eq(take),
        ]
        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(take):
            m.d.sync += [axi.awvalid.eq(1), axi.awaddr.eq(guard.o.payload.addr),
                         axi.awlen.eq(guard.o.payload.beats - 1)]

        active = self._data_channel(m, w, started.o)

        # Responses, registered, against the oldest address.
        s1_valid, s1_resp = Signal(), Signal(Response.as_shape())
        m.d.comb += axi.bready.eq(1)
        m.d.sync += [s1_valid.eq(axi.bvalid), s1_resp.eq(axi.bresp)]
        addressed, filled = Signal(range(self.bursts + 1)), Signal(range(self.bursts + 1))
        asked, answered = Signal(), Signal()
        m.d.comb += [asked.eq((addressed != 0) & (filled != 0)), answered.eq(s1_valid & asked),
                     issued.o.ready.eq(answered)]
        m.d.sync += [
            addressed.eq(addressed + (axi.awvalid & axi.awready) - answered),
            filled.eq(filled + (axi.wvalid & axi.wready & axi.wlast) - answered),
        ]
        wrong, code = check_response(m, s1_valid, s1_resp, asked=asked, ends_well=Const(1),
                                     slverr=Status.B_SLVERR, decerr=Status.B_DECERR)

        # Faults; a response goes before a refusal.
        m.d.sync += self.fault.eq(wrong | check.fault | guard.fault)
        with m.If(wrong | check.fault | guard.fault):
            m.d.sync += poisoned.eq(1)
        m.d.sync += [self.fault_code.eq(Status.RANGE_WRITE),
                     self.fault_addr.eq(Mux(guard.fault, guard.fault_addr, check.fault_addr))]
        with m.If(wrong):
            m.d.sync += [self.fault_code.eq(code), self.fault_addr.eq(issued.o.payload)]
        m.d.sync += self.expired.eq(timer.expired)
        with m.If(timer.expired):
            m.d.sync += self.fault_addr.eq(issued.o.payload)

        owed, owing = Signal(), Signal()
        m.d.comb += [
            owed.eq(axi.awvalid | axi.wvalid | (addressed != 0) & ~active & ~started.o.valid),
            owing.eq(axi.awvalid | axi.wvalid | (addressed != 0) | active | started.o.valid),
            timer.limit.eq(self.limit), timer.halt.eq(self.halt), timer.owed.eq(owed), timer.asked.eq(owing),
            timer.moved.eq(axi.awvalid & axi.awready | axi.wvalid & axi.wready | answered),
            timer.violated.eq(s1_valid & ~asked),
            self.idle.eq(~owing & ~check.busy & ~splitter.busy & ~guard.busy),
        ]
        m.d.sync += self.quiet.eq(~owing & ~take & ~axi.bvalid & ~s1_valid & ~timer.doubt)
        return m

    def _data_channel(self, m, w: Queue, started) -> Signal:
        """Beats of the oldest ``started`` burst, through two registers; whether there is one."""
        axi = self.axi
        left, last, active, send = Signal(BURST_BITS), Signal(), Signal(), Signal()
        m.d.comb += [
            send.eq(active & w.i.ready & (self.i_data.valid | self.halt)),
            self.i_data.ready.eq(active & w.i.ready & ~self.halt),
            w.i.valid.eq(send),
            w.i.payload.data.eq(self.i_data.payload),
            w.i.payload.strb.eq(Mux(self.halt, 0, (1 << BEAT_BYTES) - 1)),
            w.i.payload.last.eq(last),
            started.ready.eq(~active | (send & last)),
        ]
        with m.If(started.ready):
            m.d.sync += [active.eq(started.valid), left.eq(started.payload), last.eq(started.payload == 1)]
        with m.Elif(send):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
        m.d.comb += [
            axi.wvalid.eq(w.o.valid), w.o.ready.eq(axi.wready),
            axi.wdata.eq(w.o.payload.data), axi.wstrb.eq(w.o.payload.strb), axi.wlast.eq(w.o.payload.last),
        ]
        m.d.sync += self.beat.eq(axi.wvalid & axi.wready)
        return active
