# SPDX-License-Identifier: Apache-2.0
"""V memory: every byte where the array wants it, zeros at first, write interval, read latency, bandwidth
independent of the lanes."""

import os
from dataclasses import replace

import cocotb
import pytest

from golden.spec.machine import LANES, NANO, SLICE, TN
from hw.interfaces import VALUE_WRITE
from hw.memory.value_memory import ValueMemory
from sim.runner import run_bench
from sim.streams import bursts, half, never, start
from tests.hw.support.kv_memory import begins_with_zeros, takes, width_read, write_and_read

CFG = replace(NANO, tk=int(os.environ.get("VALUE_TK", "4")))


@pytest.mark.rtl
@pytest.mark.parametrize("tk", [4, 16])
def test_value_memory(tk):
    run_bench(ValueMemory(replace(NANO, tk=tk)), module=__name__, name=f"value_memory-{tk}", env={"VALUE_TK": str(tk)})


def test_bytes_read_a_cycle_do_not_depend_on_the_lanes():
    assert {width_read(ValueMemory(replace(CFG, tm=tm))) for tm in (2, 4, 8)} == {8 * TN * CFG.tk}


def make(rng, tile: int) -> dict:
    return {"tile": tile, "position": rng.randrange(SLICE), "half": rng.randrange(2),
            "data": [rng.randint(-127, 127) for _ in range(LANES)]}


def place(write: dict):
    step, key = divmod(write["position"], CFG.tk)
    for lane, value in enumerate(write["data"]):
        yield write["tile"] * CFG.steps + step, (LANES * write["half"] + lane) * CFG.tk + key, value


@cocotb.test()
async def keeps_every_byte(dut):
    await start(dut)
    model = {}
    for stall in (never, half, bursts()):
        await write_and_read(dut, ValueMemory(CFG), VALUE_WRITE, make, place, model, stall=stall)


@cocotb.test()
async def gives_zeros_until_written(dut):
    await start(dut)
    await begins_with_zeros(dut, ValueMemory(CFG), VALUE_WRITE, make, place)


@cocotb.test()
async def takes_a_write_a_cycle(dut):
    await start(dut)
    assert await takes(dut, ValueMemory(CFG), VALUE_WRITE, make) == 20
