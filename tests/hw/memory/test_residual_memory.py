# SPDX-License-Identifier: Apache-2.0
"""Residual memory: every client, priorities, read and write latency, rows beyond the end, zeros at first."""

import dataclasses
import os

import cocotb
import pytest

from golden.spec.machine import NANO
from hw.interfaces import RESIDUAL_WRITE
from hw.memory.residual_memory import ResidualMemory
from sim.runner import run_bench
from sim.streams import start
from tests.hw.support.row_memory import (
    begins_with_zeros,
    never_shows_what_was_there,
    opens_row_by_row,
    random_clients,
)

CLUSTERED = dataclasses.replace(NANO, name="clustered", tm=4, clusters=2)
UNIT = ResidualMemory(CLUSTERED if os.environ.get("MEMORY_CFG") else NANO)


@pytest.mark.rtl
def test_residual():
    run_bench(ResidualMemory(NANO), module=__name__)


@pytest.mark.rtl
def test_residual_in_banks():
    run_bench(ResidualMemory(CLUSTERED), module=__name__, name="residual-banks", env={"MEMORY_CFG": "clustered"},
              tests=["matches_a_plain_memory", "gives_zeros_until_written"])


@cocotb.test()
async def matches_a_plain_memory(dut):
    await start(dut)
    await random_clients(dut, UNIT, RESIDUAL_WRITE, None)


@cocotb.test()
async def gives_zeros_until_written(dut):
    await start(dut)
    await begins_with_zeros(dut, UNIT, RESIDUAL_WRITE, None)


@cocotb.test()
async def opens_as_the_sweep_goes(dut):
    await start(dut)
    await opens_row_by_row(dut, UNIT, RESIDUAL_WRITE)


@cocotb.test()
async def shows_nothing_from_before_a_reset(dut):
    await start(dut)
    await never_shows_what_was_there(dut, UNIT, RESIDUAL_WRITE)
