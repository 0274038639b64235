# SPDX-License-Identifier: Apache-2.0
"""The supervisor: every way a job can end, exactly one outcome each, and a machine that is ready for the next."""

import cocotb
import pytest

from golden.spec.machine import NANO
from golden.spec.status import Status
from hw.ctrl.supervisor import BUS_FAULT, LOCAL_FAULT, RESET_CYCLES, Supervisor
from sim.payload import pack
from sim.runner import run_bench
from sim.streams import cycles, start, until
from tests.hw.support.supervised_units import BASES, ENGINES, LOCALS, WINDOWS, Testbench

pytestmark = pytest.mark.rtl


def test_supervisor():
    run_bench(Supervisor(NANO, engines=ENGINES, locals_=LOCALS), module=__name__)


def bus(code, addr=0, index=5):
    return pack(BUS_FAULT, {"valid": 1, "code": code, "addr": addr, "index": index})


def local(code, index=6):
    return pack(LOCAL_FAULT, {"valid": 1, "code": code, "index": index})


async def ready(dut):
    await start(dut)
    return Testbench(dut)


@cocotb.test()
async def a_good_job_ends_with_ok_and_fresh_units(dut):
    tb = await ready(dut)
    for run in range(1, 6):
        await tb.begin()
        assert tb.begun == 1 and int(dut.run_id.value) == run
        await cycles(dut, 100)
        assert int(dut.busy.value) and not int(dut.halt.value)
        await tb.pulse(finished=1)
        assert await tb.ended() == (Status.OK, 1, 0, 0)
        assert tb.reset_cycles >= RESET_CYCLES and not int(dut.reset.value) and not int(dut.halt.value)


@cocotb.test()
async def settings_are_checked_before_anything_moves(dut):
    tb = await ready(dut)
    for window in WINDOWS:
        for lo, hi in ((0, 0), (0x1000, 0x1000), (0x2000, 0x1000), (2 << 32, 1 << 32), (1 << 32, 0xFFFF_FFFF)):
            getattr(dut, f"{window}_lo").value, getattr(dut, f"{window}_hi").value = lo, hi
            await tb.begin()
            assert await tb.ended() == (Status.RANGE_UNSET, 1, 0, 0) and not tb.begun
        getattr(dut, f"{window}_lo").value, getattr(dut, f"{window}_hi").value = 0xFFFF_FFFF, 1 << 32
    for base in BASES:
        for low in (1, 16, 32, 63):
            getattr(dut, base).value = 0x8_0000_0000 + low
            await tb.begin()
            assert await tb.ended() == (Status.MISALIGNED, 1, 0, 0) and not tb.begun
        getattr(dut, base).value = 0x8_0000_0040
    await tb.begin()
    await tb.pulse(finished=1)
    assert (await tb.ended())[0] == Status.OK


@cocotb.test()
async def every_fault_ends_in_its_name(dut):
    tb = await ready(dut)
    cases = []
    for n in range(ENGINES):
        for code in (Status.R_SLVERR, Status.BAD_RESPONSE, Status.RANGE_WRITE):
            addr = tb.rng.getrandbits(64)
            cases.append(({f"bus_fault__{n}": bus(code, addr, n)}, (code, 1, n, addr)))
    cases += [({f"local_fault__{n}": local(Status.RANGE_LOCAL, n)}, (Status.RANGE_LOCAL, 1, n, 0))
              for n in range(LOCALS)]
    cases.append(({"program_fault": 1, "program_code": Status.NO_END, "program_index": 99}, (Status.NO_END, 1, 99, 0)))
    for n in range(ENGINES):
        addr = tb.rng.getrandbits(64)
        pins = {"expired": 1 << n, f"bus_fault__{n}": pack(BUS_FAULT, {"addr": addr})}
        cases.append((pins, (Status.BUS_TIMEOUT, 1, 11, addr)))
    cases.append(({"abort": 1}, (Status.ABORTED, 1, 11, 0)))
    for owed in (0, 30):
        for pins, expected in cases:
            tb.owed = owed
            await tb.begin()
            await cycles(dut, tb.rng.randint(0, 20))
            await tb.pulse(**pins)
            assert await tb.ended() == expected, pins
            # What comes while it drains changes nothing; the next job is good.
            tb.owed = 0
            await tb.begin()
            await tb.pulse(finished=1)
            assert (await tb.ended())[0] == Status.OK


@cocotb.test()
async def the_first_of_several_faults_wins_in_a_fixed_order(dut):
    tb = await ready(dut)
    order = [("bus_fault__0", bus(Status.R_DECERR)), ("bus_fault__1", bus(Status.B_SLVERR)),
             ("program_fault", 1), ("local_fault__0", local(Status.RANGE_LOCAL)), ("expired", 1), ("abort", 1)]
    codes = [Status.R_DECERR, Status.B_SLVERR, Status.BAD_FIELD, Status.RANGE_LOCAL, Status.BUS_TIMEOUT, Status.ABORTED]
    dut.program_code.value = Status.BAD_FIELD
    for first in range(len(order)):
        for _ in range(4):
            others = tb.rng.sample(order[first:], tb.rng.randint(1, len(order) - first))
            await tb.begin()
            await tb.pulse(**dict([order[first], *others]))
            await tb.pulse(bus_fault__2=bus(Status.EXOKAY))  # later, hence never
            assert (await tb.ended())[0] == codes[first]


@cocotb.test()
async def an_abort_or_an_end_in_any_cycle_has_one_outcome(dut):
    tb = await ready(dut)
    outcomes = set()
    for gap in range(-6, 7):
        for finish_at in (1, 5):
            tb.owed = 7
            tb.done, tb.begun, tb.results = 0, 0, None
            await tb.pulse(start=1)
            await cycles(dut, 12 + finish_at)

            async def later(delay, **pins):
                await cycles(dut, delay)
                await tb.pulse(**pins)

            tasks = [cocotb.start_soon(later(6, finished=1)), cocotb.start_soon(later(6 + gap, abort=1))]
            for task in tasks:
                await task
            code, drained, *_ = await tb.ended()
            assert code in (Status.OK, Status.ABORTED) and drained
            assert code == Status.OK if gap > 2 else gap > -2 or code == Status.ABORTED
            outcomes.add(code)
    assert outcomes == {Status.OK, Status.ABORTED}
    # Before the job has even begun.
    for delay in range(12):
        tb.done, tb.begun = 0, 0
        await tb.pulse(start=1)
        await cycles(dut, delay)
        await tb.pulse(abort=1)
        assert (await tb.ended())[0] == Status.ABORTED, delay
    # When nothing runs it means nothing, now or later.
    await tb.pulse(abort=1)
    await tb.begin()
    await cycles(dut, 20)
    await tb.pulse(finished=1)
    assert (await tb.ended())[0] == Status.OK


@cocotb.test()
async def the_watchdog_counts_exactly(dut):
    tb = await ready(dut)
    for limit in (0, 1, 50, 300):
        dut.job_limit.value = limit
        await tb.begin()
        waited = await until(dut, lambda: int(dut.halt.value) == 1, limit + 20, "halt")
        assert limit <= waited <= limit + 4, (limit, waited)
        assert (await tb.ended())[0] == Status.JOB_TIMEOUT


@cocotb.test()
async def a_bus_that_does_not_drain_is_reported_and_may_recover(dut):
    tb = await ready(dut)
    tb.owed = 10_000
    await tb.begin()
    await tb.pulse(bus_fault__0=bus(Status.R_SLVERR, 0x40, 3))
    await cycles(dut, 30)
    assert not tb.done
    await tb.pulse(expired=2)
    assert await tb.ended() == (Status.DRAIN_TIMEOUT, 0, 3, 0x40)
    assert int(dut.halt.value), "It must not start anything on a bus that still owes answers."
    # A start is answered at once, with the same name.
    tb.done, tb.begun = 0, 0
    await tb.pulse(start=1)
    assert (await tb.ended())[:2] == (Status.DRAIN_TIMEOUT, 0) and not tb.begun
    # The bus comes to rest after all.
    tb.owed = 0
    await until(dut, lambda: int(dut.drained.value) == 1, 50, "drained")
    await cycles(dut, 5)
    assert not int(dut.halt.value) and not int(dut.busy.value) and tb.done == 1
    await tb.begin()
    await tb.pulse(finished=1)
    assert (await tb.ended())[:2] == (Status.OK, 1)


@cocotb.test()
async def a_start_in_any_cycle_of_the_recovery_is_not_lost(dut):
    tb = await ready(dut)
    for delay in range(14):
        tb.owed = 10_000
        await tb.begin()
        await tb.pulse(abort=1)
        await cycles(dut, 10)
        await tb.pulse(expired=1)
        await tb.ended()
        tb.owed, tb.done, tb.begun = 0, 0, 0
        await cycles(dut, delay)
        await tb.pulse(start=1)
        await until(dut, lambda: tb.begun or tb.done, 60, "begin or done")
        if tb.begun:
            await tb.pulse(finished=1)
            assert (await tb.ended())[:2] == (Status.OK, 1)
        else:
            assert (await tb.ended())[0] == Status.DRAIN_TIMEOUT
            await until(dut, lambda: int(dut.drained.value) == 1, 50, "drained")
            await cycles(dut, 5)


@cocotb.test()
async def a_bus_that_breaks_the_protocol_in_its_drain_spoils_a_good_job(dut):
    tb = await ready(dut)
    for delay in range(1, 30):
        tb.owed = 40
        await tb.begin()
        await tb.pulse(finished=1)
        await cycles(dut, delay)
        await tb.pulse(bus_fault__1=bus(Status.BAD_RESPONSE, 0x80, 4), abort=1)
        assert await tb.ended() == (Status.BAD_RESPONSE, 1, 4, 0x80), delay
    # But nothing else does, and the first error stays the first.
    await tb.begin()
    await tb.pulse(finished=1)
    await cycles(dut, 5)
    await tb.pulse(local_fault__0=local(Status.RANGE_LOCAL), expired=0, abort=1)
    assert (await tb.ended())[0] == Status.OK
    await tb.begin()
    await tb.pulse(bus_fault__0=bus(Status.R_SLVERR, 0x40, 3))
    await cycles(dut, 5)
    await tb.pulse(bus_fault__1=bus(Status.BAD_RESPONSE, 0x80, 4))
    assert await tb.ended() == (Status.R_SLVERR, 1, 3, 0x40)


@cocotb.test()
async def a_job_begins_when_the_bus_is_at_rest(dut):
    """What a bus sends while no job runs is waited for, as long as a drain would."""
    tb = await ready(dut)
    for owed in (0, 1, 20):
        tb.owed, tb.doubt = owed, True
        await cycles(dut, 10)
        await tb.begin()
        assert tb.begun and not tb.doubt and not int(dut.halt.value)
        await tb.pulse(finished=1)
        assert await tb.ended() == (Status.OK, 1, 0, 0)
    # A bus that never rests: a named end, and no job until it does.
    tb.owed, tb.doubt = 10_000, True
    await cycles(dut, 10)
    tb.done, tb.begun = 0, 0
    await tb.pulse(start=1)
    await cycles(dut, 50)
    assert not tb.begun and not tb.done and int(dut.busy.value)
    await tb.pulse(expired=2)
    assert await tb.ended() == (Status.DRAIN_TIMEOUT, 0, 0, 0)
    tb.owed = 0
    await until(dut, lambda: int(dut.drained.value) == 1, 50, "drained")
    await tb.begin()
    await tb.pulse(finished=1)
    assert (await tb.ended())[:2] == (Status.OK, 1)
    # An abort meanwhile ends the job as soon as it has begun.
    tb.owed, tb.doubt = 30, True
    await cycles(dut, 10)
    tb.done, tb.begun = 0, 0
    await tb.pulse(start=1)
    await cycles(dut, 10)
    await tb.pulse(abort=1)
    assert (await tb.ended())[:2] == (Status.ABORTED, 1)
