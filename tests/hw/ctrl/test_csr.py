# SPDX-License-Identifier: Apache-2.0
"""The registers: every one of the map, any order of accesses, locks, interrupts and snapshots without a lost event."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.machine import NANO
from golden.spec.regs import BY_NAME, ID, REGISTERS, Access, Cause, Ctrl, StatusBits
from golden.spec.status import Status
from hw.ctrl.counters import EVENT_BITS
from hw.ctrl.csr import COUNTERS, SETTINGS, Csr
from sim.runner import run_bench
from sim.streams import cycles, start, until
from tests.hw.support.register_host import Host

pytestmark = pytest.mark.rtl


def test_csr():
    run_bench(Csr(NANO), module=__name__)


async def ready(dut, seed=0):
    await start(dut)
    return Host(dut, seed)


@cocotb.test()
async def every_register_has_its_reset_value(dut):
    host = await ready(dut)
    for register in REGISTERS:
        value = NANO.fingerprint if register.name == "FINGERPRINT" else register.reset
        assert await host.get(register.name) == value, register.name


@cocotb.test()
async def settings_keep_every_bit_and_nothing_else(dut):
    host = await ready(dut)
    held = {register.name: register.reset for register in SETTINGS}
    for _ in range(3):
        for register in SETTINGS:
            for half in range(1 + register.wide):
                value = host.rng.choice([0, 0xFFFF_FFFF, 1 << host.rng.randrange(32), host.rng.getrandbits(32)])
                await host.put(register.name, value, half)
                held[register.name] &= ~(0xFFFF_FFFF << 32 * half)
                held[register.name] |= value << 32 * half
        for register in SETTINGS:
            assert await host.get(register.name) == held[register.name], register.name
            assert int(getattr(dut, register.name.lower()).value) == held[register.name], register.name
    assert not host.starts and not host.aborts


@cocotb.test()
async def strobes_merge_bytes(dut):
    host = await ready(dut)
    register = BY_NAME["INPUT_ADDR"]
    held = bytearray(8)
    for _ in range(60):
        begin = host.rng.randrange(8)
        data = host.rng.randbytes(host.rng.randint(1, 8 - begin))
        await host.write(register.offset + begin, data)
        held[begin:begin + len(data)] = data
        assert int(dut.input_addr.value) == int.from_bytes(held, "little")
    # CTRL is in byte 0: the other bytes start nothing.
    await host.write(BY_NAME["CTRL"].offset + 1, b"\xff\xff\xff")
    assert not host.starts and not host.aborts


@cocotb.test()
async def stray_accesses_are_answered_noted_and_do_nothing(dut):
    host = await ready(dut)
    mapped = {register.offset + 4 * half for register in REGISTERS for half in range(1 + register.wide)}
    before = {register.name: await host.get(register.name) for register in REGISTERS}

    async def noted():
        """The sticky bit is set once more after each start."""
        assert await host.get("STATUS") == StatusBits.DRAINED | StatusBits.STRAY_ACCESS
        await host.put("CTRL", Ctrl.START)
        assert await host.get("STATUS") == StatusBits.DRAINED

    holes = [offset for offset in range(0, 0x220, 4) if offset not in mapped] + [0x400, 0x800, 0x810, 0xFFC]
    assert len(holes) > 20
    strays = 0
    for offset in holes:
        assert await host.read(offset) == 0
        await noted()
        await host.write(offset, b"\xff" * 4)
        await noted()
    for register in REGISTERS:
        if register.access is Access.RO:
            for half in range(1 + register.wide):
                await host.write(register.offset + 4 * half, b"\xff" * 4)
                await noted()
                strays += 1
    assert before == {register.name: await host.get(register.name) for register in REGISTERS}
    await cycles(dut, 2)
    assert host.starts == 2 * len(holes) + strays and not host.aborts


@cocotb.test()
async def channels_come_in_any_order(dut):
    """W before AW, AW before W, slow B and R: exactly one response each, data as written."""
    host = await ready(dut)

    def pauses(rng):
        while True:
            yield rng.random() < 0.6

    write, read = host.master.write_if, host.master.read_if
    for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
        channel.set_pause_generator(pauses(host.rng))
    held = {}
    for _ in range(150):
        register = host.rng.choice(SETTINGS)
        held[register.name] = host.rng.getrandbits(32)
        await host.put(register.name, held[register.name])
        other = host.rng.choice(list(held))
        assert await host.read(BY_NAME[other].offset) == held[other]


@cocotb.test()
async def a_job_locks_the_settings(dut):
    host = await ready(dut)
    await host.put("PROGRAM_ADDR", 0x1000)
    await host.put("CTRL", Ctrl.START)
    await cycles(dut, 2)
    assert host.starts == 1
    dut.busy.value = 1
    await cycles(dut, 2)
    assert await host.get("CTRL") == Ctrl.START
    for register in SETTINGS:
        before = int(getattr(dut, register.name.lower()).value)
        await host.put(register.name, before & 0xFFFF_FFFF ^ 0xFFFF_FFFF)
        assert int(getattr(dut, register.name.lower()).value) == before, register.name
    assert await host.get("STATUS") & StatusBits.CONFIG_LOCKED
    await host.put("CTRL", Ctrl.START)
    await cycles(dut, 2)
    assert host.starts == 1 and await host.get("STATUS") & StatusBits.START_IGNORED
    await host.put("CTRL", Ctrl.ABORT)
    await cycles(dut, 2)
    assert host.aborts == 1 and await host.get("CTRL") == Ctrl.START | Ctrl.ABORT
    await host.finish(Status.ABORTED, err_index=7, err_addr=0x1_2345_6789)
    assert await host.get("STATUS") \
        == Status.ABORTED | StatusBits.DRAINED | StatusBits.START_IGNORED | StatusBits.CONFIG_LOCKED
    assert (await host.get("ERR_INDEX"), await host.get("ERR_ADDR")) == (7, 0x1_2345_6789)
    # DONE and READY clear when they have been read; the sticky bits with the next start; ABORT does nothing when idle.
    assert await host.get("CTRL") == Ctrl.DONE | Ctrl.IDLE | Ctrl.READY
    assert await host.get("CTRL") == Ctrl.IDLE
    await host.put("CTRL", Ctrl.ABORT)
    await cycles(dut, 2)
    assert host.aborts == 1
    await host.put("CTRL", Ctrl.START)
    await cycles(dut, 2)
    assert host.starts == 2
    assert not await host.get("STATUS") & (StatusBits.START_IGNORED | StatusBits.CONFIG_LOCKED)


@cocotb.test()
async def interrupts_follow_their_enables(dut):
    host = await ready(dut)
    for gier in (0, 1):
        for ier in range(8):
            for code in (Status.OK, Status.R_SLVERR):
                await host.put("GIER", gier)
                await host.put("IER", ier)
                await host.finish(code)
                await cycles(dut, 3)
                happened = Cause.DONE | Cause.READY | (Cause.ERROR if code else 0)
                assert await host.get("ISR") == happened
                assert bool(int(dut.interrupt.value)) == bool(gier and ier & happened)
                await host.put("ISR", happened)
                await cycles(dut, 3)
                assert await host.get("ISR") == 0 and not int(dut.interrupt.value)
    # Toggling sets as well: a self-test of the line.
    await host.put("IER", 7)
    await host.put("ISR", Cause.ERROR)
    await cycles(dut, 3)
    assert int(dut.interrupt.value)


async def moments(dut, times):
    """Cycles of the event (``done``) and of the write, which is the one before BVALID rises."""
    cycle = 0
    while True:
        await RisingEdge(dut.clk)
        if int(dut.done.value):
            times["event"] = cycle
        if int(dut.axi__bvalid.value):
            times.setdefault("write", cycle - 1)
        cycle += 1


@cocotb.test()
async def no_event_is_lost_to_the_access_that_clears_it(dut):
    """Every alignment of a job's end with a clearing read of CTRL and a clearing write of ISR."""
    host = await ready(dut)
    await host.put("GIER", 1)
    await host.put("IER", Cause.DONE)
    together = aligned = 0
    for delay in range(24):
        await host.put("ISR", await host.get("ISR"))
        await host.get("CTRL")

        async def end(delay=delay):
            await cycles(dut, delay)
            await host.finish()

        task = cocotb.start_soon(end())
        first = await host.get("CTRL")
        await task
        second = await host.get("CTRL")
        assert bool(first & Ctrl.DONE) + bool(second & Ctrl.DONE) == 1, delay
        together += bool(first & Ctrl.DONE)
        # An old event is cleared while a new one arrives: in the same cycle, the new one stays.
        await host.put("ISR", await host.get("ISR"))
        await host.finish()
        times = {}
        watch = cocotb.start_soon(moments(dut, times))
        task = cocotb.start_soon(end())
        await host.put("ISR", Cause.DONE | Cause.READY)
        await task
        await cycles(dut, 3)
        watch.cancel()
        survives = times["event"] >= times["write"]
        assert bool(await host.get("ISR") & Cause.DONE) == survives == bool(int(dut.interrupt.value)), (delay, times)
        aligned += times["event"] == times["write"]
    assert 0 < together < 24 and aligned


@cocotb.test()
async def counters_count_and_read_whole(dut):
    host = await ready(dut)
    running = True
    totals = [0] * len(COUNTERS)

    async def events():
        while running:
            values = [host.rng.choice([0, 1, 7]) for _ in COUNTERS]
            dut.event.value = sum(value << EVENT_BITS * n for n, value in enumerate(values))
            await FallingEdge(dut.clk)
            for n, value in enumerate(values):
                totals[n] += value
        dut.event.value = 0

    task = cocotb.start_soon(events())
    earlier = [0] * len(COUNTERS)
    for _ in range(5):
        for n, register in enumerate(COUNTERS):
            value = await host.get(register.name)
            assert earlier[n] <= value <= totals[n], register.name
            earlier[n] = value
    running = False
    await task
    await cycles(dut, 5)
    assert [await host.get(register.name) for register in COUNTERS] == totals
    await FallingEdge(dut.clk)
    dut.clear.value = 1
    await FallingEdge(dut.clk)
    dut.clear.value = 0
    await cycles(dut, 3)
    assert [await host.get(register.name) for register in COUNTERS] == [0] * len(COUNTERS)


@cocotb.test()
async def keeps_its_latency(dut):
    await start(dut)
    dut.axi__arvalid.value, dut.axi__araddr.value, dut.axi__rready.value = 1, BY_NAME["ID"].offset, 1
    await until(dut, lambda: int(dut.axi__arready.value) == 1, 5, "ARREADY")
    await cycles(dut, 1)
    dut.axi__arvalid.value = 0
    waited = await until(dut, lambda: int(dut.axi__rvalid.value) == 1, 20, "RVALID")
    assert waited + 1 == Csr.LATENCY and int(dut.axi__rdata.value) == ID, waited
