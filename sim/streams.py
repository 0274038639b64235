# SPDX-License-Identifier: Apache-2.0
"""Stream agents for cocotb benches: a source and a sink with stall policies, both with a limit on every wait.

Agents sample just before a clock edge and drive just after it, so what they see is what the hardware registers.
"""

import random
from collections.abc import Callable, Iterable

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from sim.payload import pack, unpack

PERIOD_NS = 10


class Hang(AssertionError):
    """A bench waited longer than its limit."""


def never(_: random.Random) -> bool:
    """No stall."""
    return False


def half(rng: random.Random) -> bool:
    """A stall in every second cycle, on average."""
    return rng.random() < 0.5


def bursts() -> Callable[[random.Random], bool]:
    """A new policy that stalls and runs in stretches of 1 to 20 cycles."""
    state = {"left": 0, "stall": False}

    def policy(rng):
        if state["left"] == 0:
            state["left"], state["stall"] = rng.randint(1, 20), not state["stall"]
        state["left"] -= 1
        return state["stall"]

    return policy


def seeded(salt: str = "") -> random.Random:
    """A generator from the run's seed, so that a failure repeats with the printed seed."""
    return random.Random(f"{cocotb.RANDOM_SEED}{salt}")


async def start(dut, *, cycles: int = 4) -> None:
    """Start the clock (``dut.clk``, 10 ns, in the simulator) and hold reset for ``cycles``."""
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, "ns", impl="gpi").start()
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def reset(dut, *, cycles: int = 2) -> None:
    """Assert reset while the unit works."""
    await FallingEdge(dut.clk)
    dut.rst.value = 1
    for _ in range(cycles):
        await FallingEdge(dut.clk)
    dut.rst.value = 0


async def cycles(dut, count: int) -> None:
    """Let ``count`` clock cycles pass; returns at a falling edge, when everything is stable."""
    for _ in range(count):
        await FallingEdge(dut.clk)


async def until(dut, condition: Callable[[], bool], limit: int, what: str) -> int:
    """Wait for ``condition()`` at falling edges; the number of cycles waited. Raises :class:`Hang` after ``limit``."""
    for waited in range(limit):
        if condition():
            return waited
        await FallingEdge(dut.clk)
    raise Hang(f"{what} did not happen within {limit} cycles.")


class Source:
    """Drives stream ``name`` of ``dut`` with packed values of ``shape``.

    While valid is low the payload is random noise, so that a unit that reads it fails.
    """

    def __init__(self, dut, name: str, shape, *, stall: Callable = never, limit: int = 100_000):
        self.dut, self.shape, self.stall, self.limit = dut, shape, stall, limit
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.name, self.rng, self.width = name, seeded(name), len(self.payload)
        self.idle()

    def idle(self) -> None:
        self.valid.value = 0
        self.payload.value = self.rng.getrandbits(self.width)

    async def send(self, values: Iterable) -> None:
        """Transfer all ``values``, in order. Returns at the falling edge after the last transfer."""
        waited = 0
        for value in values:
            bits = pack(self.shape, value)
            while self.stall(self.rng):
                self.idle()
                await FallingEdge(self.dut.clk)
            self.valid.value, self.payload.value = 1, bits
            while True:
                await RisingEdge(self.dut.clk)
                accepted = int(self.ready.value) == 1
                await FallingEdge(self.dut.clk)
                waited = 0 if accepted else waited + 1
                if accepted:
                    break
                if waited > self.limit:
                    raise Hang(f"{self.name} was not accepted within {self.limit} cycles.")
        self.idle()


class Sink:
    """Receives stream ``name`` of ``dut``; checks that a stalled payload is stable and valid does not drop.

    ``values`` collects unpacked payloads, ``times`` the cycle number (since the sink began) of each transfer.
    """

    def __init__(self, dut, name: str, shape, *, stall: Callable = never):
        self.dut, self.shape, self.stall, self.name = dut, shape, stall, name
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.rng, self.values, self.times, self.cycle = seeded(name), [], [], 0
        self.task = cocotb.start_soon(self._run())

    async def _run(self):
        held = None
        while True:
            self.ready.value = ready = int(not self.stall(self.rng))
            await RisingEdge(self.dut.clk)
            valid = int(self.valid.value)
            if int(self.dut.rst.value):
                held = None
            else:
                assert held is None or valid, f"{self.name}: valid fell before the transfer."
                if valid:
                    bits = int(self.payload.value)
                    assert held is None or bits == held, f"{self.name}: the payload changed while stalled."
                    held = None if ready else bits
                    if ready:
                        self.values.append(unpack(self.shape, bits))
                        self.times.append(self.cycle)
            self.cycle += 1
            await FallingEdge(self.dut.clk)

    async def receive(self, count: int, limit: int = 100_000) -> list:
        """Wait until ``count`` values in total have arrived, then return them. Raises :class:`Hang`."""
        await until(self.dut, lambda: len(self.values) >= count, limit, f"{self.name}: transfer {count}")
        return self.values[:count]
