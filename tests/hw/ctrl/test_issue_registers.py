# SPDX-License-Identifier: Apache-2.0
"""Issue registers, cycle by cycle: what waits, which registers are free, and a unit that counts as busy for HOLD cycles
after it took an instruction, whatever its ``idle``."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from hw.ctrl.issue_registers import HOLD, UNITS, IssueRegisters
from sim.runner import run_bench
from sim.streams import seeded, start

pytestmark = pytest.mark.rtl


def test_issue_registers():
    run_bench(IssueRegisters(), module=__name__)


@cocotb.test()
async def does_what_its_docstring_says(dut):
    rng, names = seeded("registers"), list(UNITS.values())
    for name in names:
        getattr(dut, f"{name}__ready").value = 0
    dut.put.value, dut.idle.value, dut.target.value, dut.issue.value = 0, 0, 0, 0
    await start(dut)
    waiting: list[int | None] = [None] * len(names)
    since, busy = [HOLD] * len(names), None
    events = {"held by HOLD alone": 0, "accepted late": 0, "several at once": 0, "not free": 0}
    for _ in range(6000):
        chance, target = rng.choice([0.1, 0.5, 1]), rng.randrange(1 << len(names))
        ready = [rng.random() < chance for _ in names]
        idle = [rng.random() < 0.9 for _ in names]
        free = all(waiting[i] is None for i in range(len(names)) if target >> i & 1)
        put, issue = free and rng.random() < 0.4, rng.getrandbits(len(dut.issue))
        for name, value in zip(names, ready, strict=True):
            getattr(dut, f"{name}__ready").value = int(value)
        dut.idle.value, dut.target.value = sum(value << i for i, value in enumerate(idle)), target
        dut.put.value, dut.issue.value = int(put), issue
        await RisingEdge(dut.clk)
        assert int(dut.free.value) == free
        assert busy is None or int(dut.busy.value) == busy, (bin(int(dut.busy.value)), bin(busy))
        for i, name in enumerate(names):
            assert int(getattr(dut, f"{name}__valid").value) == (waiting[i] is not None), name
            assert waiting[i] is None or int(getattr(dut, f"{name}__payload").value) == waiting[i], name
        busy = sum((waiting[i] is not None or not idle[i] or since[i] < HOLD) << i for i in range(len(names)))
        for i in range(len(names)):
            events["held by HOLD alone"] += waiting[i] is None and idle[i] and since[i] == HOLD - 1
            since[i] += 1
            if waiting[i] is not None and ready[i]:
                waiting[i], since[i] = None, 0
                events["accepted late"] += 1
            if put and target >> i & 1:
                waiting[i] = issue
        events["several at once"] += put and target.bit_count() > 1
        events["not free"] += not free
        await FallingEdge(dut.clk)
    assert all(count > 50 for count in events.values()), events
