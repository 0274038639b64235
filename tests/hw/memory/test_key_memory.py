# SPDX-License-Identifier: Apache-2.0
"""K memory: every byte where the array wants it, zeros at first, write interval, read latency, bandwidth
independent of the lanes."""

import os
from dataclasses import replace

import cocotb
import pytest

from golden.spec.machine import NANO, SLICE, TN
from hw.interfaces import KEY_WRITE
from hw.memory.key_memory import KeyMemory
from sim.runner import run_bench
from sim.streams import bursts, half, never, start
from tests.hw.support.kv_memory import begins_with_zeros, takes, width_read, write_and_read

CFG = replace(NANO, tk=int(os.environ.get("KEY_TK", "4")))


@pytest.mark.rtl
@pytest.mark.parametrize("tk", [4, 16])
def test_key_memory(tk):
    run_bench(KeyMemory(replace(NANO, tk=tk)), module=__name__, name=f"key_memory-{tk}", env={"KEY_TK": str(tk)})


def test_bytes_read_a_cycle_do_not_depend_on_the_lanes():
    assert {width_read(KeyMemory(replace(CFG, tm=tm))) for tm in (2, 4, 8)} == {8 * TN * CFG.tk}


def make(rng, tile: int) -> dict:
    return {"tile": tile, "column": rng.randrange(TN), "data": [rng.randint(-127, 127) for _ in range(SLICE)]}


def place(write: dict):
    for channel, value in enumerate(write["data"]):
        yield write["tile"] * CFG.steps + channel // CFG.tk, write["column"] * CFG.tk + channel % CFG.tk, value


@cocotb.test()
async def keeps_every_byte(dut):
    await start(dut)
    model = {}
    for stall in (never, half, bursts()):
        await write_and_read(dut, KeyMemory(CFG), KEY_WRITE, make, place, model, stall=stall)


@cocotb.test()
async def gives_zeros_until_written(dut):
    await start(dut)
    await begins_with_zeros(dut, KeyMemory(CFG), KEY_WRITE, make, place)


@cocotb.test()
async def a_write_takes_as_many_cycles_as_a_slice_has_steps(dut):
    await start(dut)
    assert await takes(dut, KeyMemory(CFG), KEY_WRITE, make) == 20 * CFG.steps - CFG.steps + 1
