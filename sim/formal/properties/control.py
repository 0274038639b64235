# SPDX-License-Identifier: Apache-2.0
"""Bus timer, credit counters and supervisor: every wait ends, no counter overflows, every job ends."""

from amaranth.hdl import Mux

from golden.spec.machine import NANO
from golden.spec.status import Status
from hw.ctrl.credits import Credits
from hw.ctrl.supervisor import CHECK_CYCLES, DRAIN_CYCLES, LEAD, RESET_CYCLES, Supervisor
from hw.dma.bus_timer import BusTimer
from hw.dma.weight_lines import CHUNK_LINES, Destination
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import soon

TIMER_LIMIT = 5
JOB_LIMIT = 6
SHALLOW = 128
"""Deepest destination that a search still fills."""
DRAIN = 9
"""Cycles in which an engine that is not quiet reports a bus without progress, in the proof of the supervisor."""


def bus_timer() -> Harness:
    """A bus that owes a handshake and makes none is reported, in time and not early; small limits."""
    h = Harness()
    unit = h.add(BusTimer())
    m = h.m
    h.assume(unit.limit <= TIMER_LIMIT)
    h.fixed(unit.limit)
    h.assume(~unit.violated)
    idle = h.register(range(TIMER_LIMIT + 8), "idle")
    stuck = unit.owed & ~unit.moved
    with m.If(~h.live | ~stuck | unit.expired | (unit.halt & ~h.past(unit.halt))):
        m.d.watch += idle.eq(0)
    with m.Elif(idle < TIMER_LIMIT + 7):
        m.d.watch += idle.eq(idle + 1)
    h.claim("expires_in_time", idle <= unit.limit + unit.LATENCY + 2)
    h.claim("expires_not_early", ~unit.expired | ~h.later | (idle >= unit.limit) | h.past(~stuck))
    h.cover("expires", unit.expired & (unit.limit == TIMER_LIMIT))
    return h


def credits() -> Harness:
    """Credits of every destination, with the lines that were taken and not yet released: together the depth."""
    h = Harness()
    cfg = NANO
    unit = h.add(Credits(cfg))
    m = h.m
    targets = h.inside("targets")
    h.assume(unit.possible | (unit.taken == 0))
    h.assume(unit.taken <= Mux(unit.destination == Destination.MULTIPLIERS, 1, CHUNK_LINES))
    for target, (depth, _, released) in targets.items():
        name = target.name.lower()
        out = h.register(range(2 * depth), f"out_{name}")
        taken = h.named(Mux(unit.destination == target, unit.taken, 0), f"taken_{name}")
        freed = h.named(released, f"freed_{name}")
        h.assume(freed <= out)
        with m.If(h.live):
            m.d.watch += out.eq(out + taken - freed)
        h.lemma(f"{name}_sum", h.signal(f"credit_{name}") + h.signal(f"s1_freed_{name}") + out == depth)
        h.claim(f"{name}_never_overflows", out <= depth)
        if depth <= SHALLOW:
            h.cover(f"{name}_full", out == depth)
    return h


def supervisor() -> Harness:
    """Any program, any faults, any bus: a job ends; afterwards the machine is idle. Each engine keeps the promise of
    its timer: while the supervisor waits, it becomes quiet or says that its bus does not move, within DRAIN cycles.
    """
    h = Harness()
    unit = h.add(Supervisor(NANO, engines=2, locals_=1))
    m, job = h.m, h.inside("job")
    h.fixed(unit.job_limit)
    for name in (*unit.bases, *unit.bounds):
        h.fixed(getattr(unit, name))
    h.assume(unit.job_limit <= JOB_LIMIT)
    waiting = h.at("SETTLE") | h.at("DRAIN")
    h.assume(soon(h, unit.quiet.all() | unit.expired.any() | ~waiting, DRAIN, "drain"))
    # A bus at rest stays at rest while nothing is issued.
    h.assume(~h.later | ~waiting | ~h.past(unit.quiet.all()) | unit.quiet.all())
    # The registers start a job only while none runs.
    h.assume(~unit.start | ~(job.working | job.wanted))

    states = {"IDLE": 2, "SETTLE": DRAIN + DRAIN_CYCLES + 3, "CHECK": CHECK_CYCLES + LEAD + 1, "RUN": JOB_LIMIT + 4,
              "DRAIN": DRAIN + DRAIN_CYCLES + 3, "RESET": RESET_CYCLES + LEAD + 1, "FINISH": 1}
    rank = h.named(sum(Mux(h.at(state), number, 0) for number, state in enumerate(states)), "rank")
    for state, longest in states.items():
        stays = h.register(range(longest + 2), f"in_{state.lower()}")
        inside = h.at(state) & (job.working | job.wanted)
        m.d.watch += stays.eq(Mux(h.live & inside, stays + (stays <= longest), 0))
        if state == "RUN":
            h.lemma("watchdog_counts_the_cycles", ~inside | (stays > JOB_LIMIT) | (stays + job.left == unit.job_limit)
                    | (job.left == 0) & (stays >= unit.job_limit))
        h.claim(f"job_leaves_{state.lower()}", stays <= longest)
    h.claim("states_of_a_job_in_order", ~h.later | ~job.working | (rank >= h.past(rank)))
    h.claim("done_at_the_end_of_each_job", ~h.later | ((h.past(job.working) & ~job.working) == unit.done))
    h.claim("idle_after_done", ~unit.done | h.at("IDLE") & ~job.working & ~unit.reset & (unit.halt == job.stuck))
    h.claim("not_drained_only_with_its_code", ~unit.done | unit.drained | (unit.code == Status.DRAIN_TIMEOUT))
    resets = before = unit.reset
    for _ in range(LEAD):
        before = h.past(before)
        resets = resets | before
    h.claim("front_end_begins_out_of_reset", ~unit.begin | ~resets & ~unit.halt)
    h.claim("units_are_reset_before_idle", ~h.at("RESET") | unit.halt)
    h.cover("done_well", unit.done & (unit.code == Status.OK))
    h.cover("gives_up", unit.done & (unit.code == Status.DRAIN_TIMEOUT))
    return h
