# SPDX-License-Identifier: Apache-2.0
"""Operand memory: every client, priorities, read and write latency, rows beyond the end, zeros at first."""

import dataclasses
import os

import cocotb
import pytest

from golden.spec.machine import NANO
from hw.interfaces import OPERAND_ROW, OPERAND_WRITE
from hw.memory.operand_memory import OperandMemory
from sim.runner import run_bench
from sim.streams import start
from tests.hw.support.row_memory import (
    begins_with_zeros,
    never_shows_what_was_there,
    opens_row_by_row,
    random_clients,
)

CLUSTERED = dataclasses.replace(NANO, name="clustered", tm=4, clusters=2)
UNIT = OperandMemory(CLUSTERED if os.environ.get("MEMORY_CFG") else NANO)


@pytest.mark.rtl
def test_operand():
    run_bench(OperandMemory(NANO), module=__name__)


@pytest.mark.rtl
def test_operand_in_banks():
    run_bench(OperandMemory(CLUSTERED), module=__name__, name="operand-banks", env={"MEMORY_CFG": "clustered"},
              tests=["matches_a_plain_memory", "gives_zeros_until_written"])


@cocotb.test()
async def matches_a_plain_memory(dut):
    await start(dut)
    await random_clients(dut, UNIT, OPERAND_WRITE, OPERAND_ROW)


@cocotb.test()
async def gives_zeros_until_written(dut):
    await start(dut)
    await begins_with_zeros(dut, UNIT, OPERAND_WRITE, OPERAND_ROW)


@cocotb.test()
async def opens_as_the_sweep_goes(dut):
    await start(dut)
    await opens_row_by_row(dut, UNIT, OPERAND_WRITE)


@cocotb.test()
async def shows_nothing_from_before_a_reset(dut):
    await start(dut)
    await never_shows_what_was_there(dut, UNIT, OPERAND_WRITE)
