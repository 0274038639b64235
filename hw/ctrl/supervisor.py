# SPDX-License-Identifier: Apache-2.0
"""Job supervisor: start, first error, watchdog, drain, and reset of the units."""

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LINE, MachineConfig
from golden.spec.status import Status
from hw.axi import ADDRESS_BITS
from hw.lib import own_reset

BUS_FAULT = data.StructLayout({
    "valid": 1, "code": unsigned(8), "index": unsigned(16), "addr": unsigned(ADDRESS_BITS),
})
LOCAL_FAULT = data.StructLayout({"valid": 1, "code": unsigned(8), "index": unsigned(16)})
WINDOWS = ("read", "write", "weight")
CHECK_CYCLES = 3
DRAIN_CYCLES = 4
"""Cycles from ``halt`` until every engine's ``quiet`` is valid."""
RESET_CYCLES = 4
LEAD = 2 * own_reset.LATENCY
"""Cycles from ``reset`` to that of all parts of a unit: a register of the unit, then one of the part."""


class Error(NamedTuple):
    """An error: its status code, instruction and address."""

    code: Signal
    index: Signal
    addr: Signal


class Job(NamedTuple):
    """The job: whether one is wanted or in progress, is to be aborted or took too long; its first error; cycles
    ``left`` to it and ``ticks`` left to the current state; whether the bus is ``stuck`` because of it."""

    wanted: Signal
    working: Signal
    aborting: Signal
    timeout: Signal
    error: Error
    left: Signal
    ticks: Signal
    stuck: Signal


class Events(NamedTuple):
    """What the states wait for, registered: settings that no job may begin with, whether an error was raised, on the
    bus or anywhere, and the first one by priority; whether the bus is at rest, or has been waited for too long."""

    range_unset: Signal
    misaligned: Signal
    on_bus: Signal
    anywhere: Signal
    error: Error
    resting: Signal
    expired: Signal


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
        ticks = range(max(CHECK_CYCLES, DRAIN_CYCLES, RESET_CYCLES) + LEAD + 1)
        job = Job(*(Signal(name=name) for name in ("wanted", "working", "aborting", "timeout")), _error("error"),
                  Signal(32, name="left"), Signal(ticks, name="ticks"), Signal(name="stuck"))
        events = self._events(m, job)
        m.d.comb += self.busy.eq(job.working | job.wanted | self.start)
        with m.If(self.start):
            m.d.sync += job.wanted.eq(1)
        with m.If(self.abort):
            m.d.sync += job.aborting.eq(1)
        m.d.sync += [self.begin.eq(0), self.done.eq(0), self.clear.eq(0), job.timeout.eq(0)]
        with m.If(job.ticks != 0):
            m.d.sync += job.ticks.eq(job.ticks - 1)
        with m.FSM():
            self._before(m, job, events)
            self._within(m, job, events)
            self._after(m, job)
        return m

    def _settings(self, m) -> tuple[Signal, Signal]:
        """Settings, checked continuously; the result is used a few cycles after the start: (a bit for each window that
        is empty, for each base address that is misaligned)"""
        half = ADDRESS_BITS // 2
        empty = Signal(len(WINDOWS))
        for n, window in enumerate(WINDOWS):
            lo, hi = getattr(self, f"{window}_lo"), getattr(self, f"{window}_hi")
            above, equal, low = (Signal(name=f"{window}_{name}") for name in ("above", "equal", "low"))
            m.d.sync += [
                above.eq(hi[half:] > lo[half:]), equal.eq(hi[half:] == lo[half:]), low.eq(hi[:half] > lo[:half]),
                empty[n].eq(~(above | equal & low)),
            ]
        misaligned = Signal(len(self.bases))
        m.d.sync += misaligned.eq(Cat((getattr(self, name) & (LINE - 1)) != 0 for name in self.bases))
        return empty, misaligned

    def _events(self, m, job: Job) -> Events:
        """Everything that can go wrong, the first by priority."""
        error, anywhere, on_bus = _error("s1"), Signal(name="s1_any"), Signal(name="s1_bus")
        resting, expired = Signal(name="resting"), Signal(name="expired")
        m.d.sync += [
            anywhere.eq(0), error.index.eq(self.at), error.addr.eq(0),
            on_bus.eq(Cat(fault.valid for fault in self.bus_fault).any()),
            resting.eq(self.quiet.all()), expired.eq(self.expired.any()),
        ]

        def raised(condition, code, *more):
            with m.If(condition):
                m.d.sync += [anywhere.eq(1), error.code.eq(code), *more]

        raised(job.aborting, Status.ABORTED)
        raised(job.timeout, Status.JOB_TIMEOUT)
        for n, fault in enumerate(self.bus_fault):
            raised(self.expired[n], Status.BUS_TIMEOUT, error.addr.eq(fault.addr))
        for fault in self.local_fault:
            raised(fault.valid, fault.code, error.index.eq(fault.index))
        raised(self.program_fault, self.program_code, error.index.eq(self.program_index))
        for fault in reversed(list(self.bus_fault)):
            raised(fault.valid, fault.code, error.addr.eq(fault.addr), error.index.eq(fault.index))
        empty, misaligned = self._settings(m)
        return Events(empty.any(), misaligned.any(), on_bus, anywhere, error, resting, expired)

    def _before(self, m, job: Job, events: Events) -> None:
        """States until the front end begins: a bus at rest, units in reset, the settings checked."""
        error = job.error
        with m.State("IDLE"):
            m.d.sync += [error.code.eq(Status.OK), error.index.eq(0), error.addr.eq(0), job.left.eq(self.job_limit),
                         job.ticks.eq(CHECK_CYCLES + LEAD)]
            with m.If(job.wanted):
                m.d.sync += [job.working.eq(1), job.wanted.eq(0), job.aborting.eq(0), self.clear.eq(1),
                             self.run_id.eq(self.run_id + 1)]
                m.next = "CHECK"
                with m.If(job.stuck):
                    self._give_up(m, job)
                with m.Elif(~events.resting):
                    self._halt(m, job, "SETTLE")
            with m.Elif(job.stuck & events.resting):
                m.d.sync += job.ticks.eq(RESET_CYCLES + LEAD)
                m.next = "RESET"
        with m.State("SETTLE"):
            with m.If(job.ticks == 0):
                with m.If(events.resting):
                    m.d.sync += [self.halt.eq(0), job.ticks.eq(CHECK_CYCLES + LEAD)]
                    m.next = "CHECK"
                with m.Elif(events.expired):
                    self._give_up(m, job)

        with m.State("CHECK"):
            # A protocol violation while no job ran, on a bus that is quiet now, is forgotten.
            m.d.sync += self.reset.eq(job.ticks > LEAD)
            with m.If(job.ticks == 0):
                with m.If(events.range_unset):
                    m.d.sync += error.code.eq(Status.RANGE_UNSET)
                    self._halt(m, job, "DRAIN")
                with m.Elif(events.misaligned):
                    m.d.sync += error.code.eq(Status.MISALIGNED)
                    self._halt(m, job, "DRAIN")
                with m.Else():
                    m.d.sync += self.begin.eq(1)
                    m.next = "RUN"

    def _within(self, m, job: Job, events: Events) -> None:
        """States of a job that runs, until the bus is at rest after it."""
        with m.State("RUN"):
            m.d.sync += [job.timeout.eq(job.left == 0), job.left.eq(Mux(job.left == 0, 0, job.left - 1))]
            with m.If(events.anywhere):
                _keep(m, job, events)
            with m.If(events.anywhere | self.finished):
                self._halt(m, job, "DRAIN")
        with m.State("DRAIN"):
            with m.If(events.on_bus & (job.error.code == Status.OK)):
                _keep(m, job, events)
            with m.If(job.ticks == 0):
                with m.If(events.resting):
                    m.d.sync += job.ticks.eq(RESET_CYCLES + LEAD)
                    m.next = "RESET"
                with m.Elif(events.expired):
                    self._give_up(m, job)

    def _after(self, m, job: Job) -> None:
        """States in which the units are reset, also without a job once a stuck bus is quiet, and the result is told."""
        with m.State("RESET"):
            m.d.sync += self.reset.eq(job.ticks > LEAD)
            with m.If(job.ticks == 0):
                m.d.sync += [job.stuck.eq(0), self.halt.eq(0)]
                with m.If(job.working):
                    m.next = "FINISH"
                with m.Else():
                    m.d.sync += self.drained.eq(1)
                    m.next = "IDLE"
        with m.State("FINISH"):
            m.d.sync += [
                job.working.eq(0), self.done.eq(1), self.code.eq(job.error.code), self.drained.eq(~job.stuck),
                self.err_index.eq(job.error.index), self.err_addr.eq(job.error.addr),
            ]
            m.next = "IDLE"

    def _halt(self, m, job: Job, state: str) -> None:
        m.d.sync += [self.halt.eq(1), job.ticks.eq(DRAIN_CYCLES)]
        m.next = state

    def _give_up(self, m, job: Job) -> None:
        m.d.sync += [job.stuck.eq(1), job.error.code.eq(Status.DRAIN_TIMEOUT)]
        m.next = "FINISH"


def _error(name: str) -> Error:
    return Error(Signal(8, name=f"{name}_code"), Signal(16, name=f"{name}_index"),
                 Signal(ADDRESS_BITS, name=f"{name}_addr"))


def _keep(m, job: Job, events: Events) -> None:
    m.d.sync += [kept.eq(raised) for kept, raised in zip(job.error, events.error, strict=True)]
