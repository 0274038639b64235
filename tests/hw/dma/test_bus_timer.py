# SPDX-License-Identifier: Apache-2.0
"""The bus timer: every cycle against a model that counts; its times in numbers; doubt lasts as long as it must."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from golden.spec.regs import DRAIN_LIMITS
from hw.dma.bus_timer import BusTimer
from sim.runner import run_bench
from sim.streams import reset, seeded, start

pytestmark = pytest.mark.rtl
INPUTS = ("owed", "moved", "asked", "violated", "halt")


def test_bus_timer():
    run_bench(BusTimer(), module=__name__)


class Model:
    """Counts cycles without a handshake, and windows of listening; what a cycle shows is known a cycle later."""

    def __init__(self, limit: int):
        self.limit, self.count, self.windows = limit, 0, 0
        self.waiting = self.listening = self.over = self.closed = self.noisy = self.doubt = self.halted = False

    def step(self, owed, moved, asked, violated, halt) -> tuple[bool, bool]:
        """(expired, doubt) after a cycle with these inputs."""
        expired = over = closed = False
        restart = not (self.waiting or self.listening) or self.over or (halt and not self.halted)
        if not restart and self.count == self.limit:
            over, closed, expired = True, self.listening, self.waiting
        doubt, noisy = self.doubt, self.noisy
        if not self.listening:
            noisy, self.windows = False, 0
        elif self.closed:
            doubt, noisy, self.windows = self.noisy, False, (self.windows + 1) % DRAIN_LIMITS
            expired = expired or self.noisy and self.windows == 0
        if violated:
            doubt, noisy = True, self.listening
        self.count = 0 if restart or over else self.count + 1
        self.waiting, self.listening = bool(owed and not moved), bool(self.doubt and not asked)
        self.over, self.closed, self.noisy, self.doubt, self.halted = over, closed, noisy, doubt, bool(halt)
        return expired, doubt


async def fresh(dut, limit: int) -> None:
    for name in INPUTS:
        getattr(dut, name).value = 0
    dut.limit.value = limit
    await reset(dut)
    await FallingEdge(dut.clk)


async def step(dut, **inputs) -> tuple[int, int]:
    """(expired, doubt) after a cycle with these inputs, all others low."""
    for name in INPUTS:
        getattr(dut, name).value = inputs.get(name, 0)
    await FallingEdge(dut.clk)
    return int(dut.expired.value), int(dut.doubt.value)


async def first(dut, wanted: int, most: int, **inputs) -> int:
    """Cycles until output ``wanted`` (0: expired rises, 1: doubt falls); -1 after ``most``."""
    for passed in range(1, most + 1):
        if (await step(dut, **inputs))[wanted] == (wanted == 0):
            return passed
    return -1


@cocotb.test()
async def does_what_the_model_says(dut):
    await start(dut)
    rng, events = seeded("timer"), {"expired": 0, "doubt ends": 0, "expired in doubt": 0}
    for limit in (0, 1, 2, 3, 5, 9):
        for _ in range(12):
            await fresh(dut, limit)
            model = Model(limit)
            for _ in range(2):
                model.step(0, 0, 0, 0, 0)
            chances = [rng.choice([0, 0.02, 0.2, 0.5, 0.9, 1]) for _ in INPUTS]
            before = False
            for cycle in range(250):
                if cycle % 50 == 0:
                    chances = [rng.choice([0, 0.02, 0.2, 0.5, 0.9, 1]) for _ in INPUTS]
                inputs = {name: int(rng.random() < chance) for name, chance in zip(INPUTS, chances, strict=True)}
                expected = model.step(**inputs)
                found = await step(dut, **inputs)
                assert found == expected, (limit, cycle, inputs, found, expected)
                events["expired"] += found[0]
                events["doubt ends"] += before and not found[1]
                events["expired in doubt"] += found[0] and found[1] and not model.waiting
                before = bool(found[1])
    assert all(count > 20 for count in events.values()), events


@cocotb.test()
async def expires_after_its_limit(dut):
    await start(dut)
    for limit in (0, 1, 7, 300):
        await fresh(dut, limit)
        assert await first(dut, 0, limit + 9, owed=1) == limit + BusTimer.LATENCY
        assert await first(dut, 0, limit + 9, owed=1) == limit + BusTimer.LATENCY, "and again, from the start"
        await fresh(dut, limit)
        for _ in range(3):  # a handshake in the last cycle allowed, and a halt, give it the whole limit again
            assert await first(dut, 0, limit, owed=1) == -1
            await step(dut, owed=1, moved=1)
        assert await first(dut, 0, limit, owed=1) == -1
        assert await first(dut, 0, limit + 9, owed=1, halt=1) == limit + BusTimer.LATENCY


@cocotb.test()
async def large_limits_are_whole(dut):
    await start(dut)
    for limit in (1 << 31, (1 << 32) - 1, 1 << 16):
        await fresh(dut, limit)
        assert await first(dut, 0, 400, owed=1) == -1


@cocotb.test()
async def doubt_ends_with_a_quiet_window(dut):
    await start(dut)
    for limit in (0, 1, 6, 40):
        await fresh(dut, limit)
        assert (await step(dut, violated=1, asked=1))[1] == 1
        assert await first(dut, 1, 5 * limit + 20, asked=1) == -1, "as long as a request is open"
        assert await first(dut, 1, 5 * limit + 20) == limit + 3
    for late in range(12):  # a violation in any cycle of a window keeps doubt for another whole one
        await fresh(dut, 6)
        await step(dut, violated=1)
        for _ in range(late):
            assert (await step(dut))[1] == 1 or late > 6 + 2
        if late > 6 + 2:
            continue
        await step(dut, violated=1)
        assert await first(dut, 1, 40) >= 6 + 2, late


@cocotb.test()
async def a_bus_that_is_never_quiet_expires(dut):
    await start(dut)
    for limit in (3, 10):
        await fresh(dut, limit)
        await step(dut, violated=1)
        times = [cycle for cycle in range(3 * DRAIN_LIMITS * (limit + 2)) if (await step(dut, violated=1))[0]]
        window = limit + 2
        assert times[0] == DRAIN_LIMITS * window and times[1] - times[0] == DRAIN_LIMITS * window, times
