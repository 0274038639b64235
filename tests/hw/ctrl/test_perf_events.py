# SPDX-License-Identifier: Apache-2.0
"""Activity of the units: idle after SETTLE empty cycles of all parts, busy at once, whichever part it is."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from golden.spec.isa import Unit
from hw.ctrl.perf_events import SETTLE, Activity
from sim.runner import run_bench
from sim.streams import seeded, start

pytestmark = pytest.mark.rtl
PARTS = {Unit.DMA: ("dma",), Unit.NORM: ("norm",), Unit.GATE: ("gate",),
         Unit.ARRAY: ("control", "array", "epilogue", "softmax", "context")}
"""Parts of each unit; all of them but ``context`` say when they are idle."""


def test_activity():
    run_bench(Activity(), module=__name__)


@cocotb.test()
async def idle_follows_the_last_part(dut):
    await start(dut)
    rng, empty, lonely = seeded("parts"), {unit: [False] * SETTLE for unit in Unit}, set()
    names = [name for parts in PARTS.values() for name in parts]
    for _ in range(3000):
        chance = rng.choice([0, 0.02, 0.5])
        busy = {name: rng.random() < chance for name in names}
        if rng.random() < 0.3:
            busy = dict.fromkeys(names, False) | {rng.choice(names): True}
        for name in names:
            getattr(dut, name).value = int(busy[name] == (name == "context"))
        await FallingEdge(dut.clk)
        for n, unit in enumerate(Unit):
            at_work = [name for name in PARTS[unit] if busy[name]]
            lonely |= set(at_work) if len(at_work) == 1 else set()
            empty[unit] = [*empty[unit][1:], not at_work]
            assert (int(dut.idle.value) >> n & 1) == all(empty[unit]), (unit, empty[unit], busy)
    assert lonely == set(names), "each part alone must have kept its unit busy"
