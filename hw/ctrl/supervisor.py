# SPDX-License-Identifier: Apache-2.0
"""Job supervisor: start, first error, watchdog, drain, and reset of the units."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LINE, MachineConfig
from golden.spec.status import Status
from hw.axi import ADDRESS_BITS

BUS_FAULT = data.StructLayout({
    "valid": 1, "code": unsigned(8), "index": unsigned(16), "addr": unsigned(ADDRESS_BITS),
})
LOCAL_FAULT = data.StructLayout({"valid": 1, "code": unsigned(8), "index": unsigned(16)})
WINDOWS = ("read", "write", "weight")
CHECK_CYCLES = 3
DRAIN_CYCLES = 4
"""Cycles from ``halt`` until every engine's ``quiet`` is valid."""
RESET_CYCLES = 4


class Supervisor(wiring.Component):
    """Job supervisor: checks the settings, starts the front end, watches for errors, and stops every unit at the end.

    ::

        IDLE -start-> CHECK (units in reset) -> RUN -> DRAIN -> RESET -> FINISH -> IDLE
           \\           ^  \\--------------------^  \\-- no rest: DRAIN_TIMEOUT -> FINISH, stuck until the bus is quiet
            \\-> SETTLE -/                                                              after all

    The first error is kept; in one cycle a bus fault goes before the program's, before a local one, before a time-out,
    before the abort. In DRAIN the engines issue nothing, accept all outstanding responses and complete started writes
    without strobes; RESET clears every unit, so the next job begins as after power-up. Jobs that succeed take the same
    path; a bus that breaks the protocol in their drain makes them fail. A bus that is not quiet when a job is
    started gets the time of a drain to become quiet, in SETTLE. The memories start to clear after RESET, and
    again after CHECK.

    Timing: a job ends at most JOB_LIMIT cycles after it began plus the drain, which ends at most BUS_LIMIT cycles
    after the last outstanding handshake, or DRAIN_LIMITS times that after a bus broke the protocol.
    Domain: settings do not change while ``busy``.
    Reference model: none.

    Members: ``start``, ``abort`` In, pulses; ``begin`` Out, to the front end; ``finished`` In, from the sequencer;
    settings In; ``bus_fault[n]``, ``expired[n]``, ``quiet[n]`` In for each bus engine; ``program_fault`` In with
    ``program_code``, ``program_index``; ``local_fault[n]`` In; ``at`` In, instruction in flight; ``halt``, ``reset``,
    ``busy`` Out; ``done`` Out, with ``code``, ``drained``, ``err_index``, ``err_addr``; ``run_id`` Out; ``clear`` Out.
    """

    def __init__(self, cfg: MachineConfig, *, engines: int, locals_: int):
        self.cfg = cfg
        self.bases = ("program_addr", "table_addr", "input_addr", "output_addr",
                      *(f"weight_addr{p}" for p in range(cfg.ports)))
        self.bounds = tuple(f"{window}_{end}" for window in WINDOWS for end in ("lo", "hi"))
        super().__init__({
            "start": In(1), "abort": In(1), "begin": Out(1), "finished": In(1),
            **{name: In(ADDRESS_BITS) for name in (*self.bases, *self.bounds)}, "job_limit": In(32),
            "bus_fault": In(BUS_FAULT).array(engines), "expired": In(engines), "quiet": In(engines),
            "program_fault": In(1), "program_code": In(8), "program_index": In(16),
            "local_fault": In(LOCAL_FAULT).array(locals_), "at": In(16),
            "halt": Out(1), "reset": Out(1), "busy": Out(1), "done": Out(1), "code": Out(8), "drained": Out(1, init=1),
            "err_index": Out(16), "err_addr": Out(ADDRESS_BITS), "run_id": Out(32), "clear": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        # Settings, checked continuously; the result is used a few cycles after the start.
        half = ADDRESS_BITS // 2
        empty = Signal(len(WINDOWS))
        for n, window in enumerate(WINDOWS):
            lo, hi = getattr(self, f"{window}_lo"), getattr(self, f"{window}_hi")
            above, equal, low = Signal(), Signal(), Signal()
            m.d.sync += [
                above.eq(hi[half:] > lo[half:]), equal.eq(hi[half:] == lo[half:]), low.eq(hi[:half] > lo[:half]),
                empty[n].eq(~(above | equal & low)),
            ]
        misaligned = Signal(len(self.bases))
        m.d.sync += misaligned.eq(Cat((getattr(self, name) & (LINE - 1)) != 0 for name in self.bases))

        # Everything that can go wrong, first by priority, registered.
        timeout, aborting = Signal(), Signal()
        s1_any, s1_code, s1_addr, s1_index = Signal(), Signal(8), Signal(ADDRESS_BITS), Signal(16)
        s1_bus = Signal()
        m.d.sync += [s1_any.eq(0), s1_index.eq(self.at), s1_addr.eq(0),
                     s1_bus.eq(Cat(fault.valid for fault in self.bus_fault).any())]

        def raised(condition, code, *more):
            with m.If(condition):
                m.d.sync += [s1_any.eq(1), s1_code.eq(code), *more]

        raised(aborting, Status.ABORTED)
        raised(timeout, Status.JOB_TIMEOUT)
        for n, fault in enumerate(self.bus_fault):
            raised(self.expired[n], Status.BUS_TIMEOUT, s1_addr.eq(fault.addr))
        for fault in self.local_fault:
            raised(fault.valid, fault.code, s1_index.eq(fault.index))
        raised(self.program_fault, self.program_code, s1_index.eq(self.program_index))
        for fault in reversed(list(self.bus_fault)):
            raised(fault.valid, fault.code, s1_addr.eq(fault.addr), s1_index.eq(fault.index))

        code, err_index, err_addr = Signal(8), Signal(16), Signal(ADDRESS_BITS)
        ticks, left = Signal(range(max(CHECK_CYCLES, DRAIN_CYCLES, RESET_CYCLES) + 1)), Signal(32)
        stuck, resting, expired = Signal(), Signal(), Signal()
        working, wanted = Signal(), Signal()
        m.d.comb += self.busy.eq(working | wanted | self.start)
        with m.If(self.start):
            m.d.sync += wanted.eq(1)
        with m.If(self.abort):
            m.d.sync += aborting.eq(1)
        m.d.sync += [resting.eq(self.quiet.all()), expired.eq(self.expired.any()), self.begin.eq(0), self.done.eq(0),
                     self.clear.eq(0), timeout.eq(0)]
        with m.If(ticks != 0):
            m.d.sync += ticks.eq(ticks - 1)

        def halt(state):
            m.d.sync += [self.halt.eq(1), ticks.eq(DRAIN_CYCLES)]
            m.next = state

        def keep_error():
            m.d.sync += [code.eq(s1_code), err_index.eq(s1_index), err_addr.eq(s1_addr)]

        def give_up():
            m.d.sync += [stuck.eq(1), code.eq(Status.DRAIN_TIMEOUT)]
            m.next = "FINISH"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [code.eq(Status.OK), err_index.eq(0), err_addr.eq(0), ticks.eq(CHECK_CYCLES),
                             left.eq(self.job_limit)]
                with m.If(wanted):
                    m.d.sync += [working.eq(1), wanted.eq(0), aborting.eq(0), self.clear.eq(1),
                                 self.run_id.eq(self.run_id + 1)]
                    m.next = "CHECK"
                    with m.If(stuck):
                        give_up()
                    with m.Elif(~resting):
                        halt("SETTLE")
                with m.Elif(stuck & resting):
                    m.d.sync += ticks.eq(RESET_CYCLES)
                    m.next = "RESET"
            with m.State("SETTLE"):
                with m.If(ticks == 0):
                    with m.If(resting):
                        m.d.sync += [self.halt.eq(0), ticks.eq(CHECK_CYCLES)]
                        m.next = "CHECK"
                    with m.Elif(expired):
                        give_up()

            with m.State("CHECK"):
                # A protocol violation while no job ran, on a bus that is quiet now, is forgotten.
                m.d.sync += self.reset.eq(ticks != 0)
                with m.If(ticks == 0):
                    with m.If(empty.any()):
                        m.d.sync += code.eq(Status.RANGE_UNSET)
                        halt("DRAIN")
                    with m.Elif(misaligned.any()):
                        m.d.sync += code.eq(Status.MISALIGNED)
                        halt("DRAIN")
                    with m.Else():
                        m.d.sync += self.begin.eq(1)
                        m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += [timeout.eq(left == 0), left.eq(Mux(left == 0, 0, left - 1))]
                with m.If(s1_any):
                    keep_error()
                with m.If(s1_any | self.finished):
                    halt("DRAIN")
            with m.State("DRAIN"):
                with m.If(s1_bus & (code == Status.OK)):
                    keep_error()
                with m.If(ticks == 0):
                    with m.If(resting):
                        m.d.sync += ticks.eq(RESET_CYCLES)
                        m.next = "RESET"
                    with m.Elif(expired):
                        give_up()
            with m.State("RESET"):
                m.d.sync += self.reset.eq(ticks != 0)
                with m.If(ticks == 0):
                    m.d.sync += [stuck.eq(0), self.halt.eq(0)]
                    with m.If(working):
                        m.next = "FINISH"
                    with m.Else():
                        m.d.sync += self.drained.eq(1)
                        m.next = "IDLE"
            with m.State("FINISH"):
                m.d.sync += [
                    working.eq(0), self.done.eq(1), self.code.eq(code), self.drained.eq(~stuck),
                    self.err_index.eq(err_index), self.err_addr.eq(err_addr),
                ]
                m.next = "IDLE"
        return m
