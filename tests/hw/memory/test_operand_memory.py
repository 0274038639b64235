# SPDX-License-Identifier: Apache-2.0
"""Operand memory: every client, priorities, read and write latency, rows beyond the end, zeros at first."""

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


@pytest.mark.rtl
def test_operand():
    run_bench(OperandMemory(NANO), module=__name__)


@cocotb.test()
async def matches_a_plain_memory(dut):
    await start(dut)
    await random_clients(dut, OperandMemory(NANO), OPERAND_WRITE, OPERAND_ROW)


@cocotb.test()
async def gives_zeros_until_written(dut):
    await start(dut)
    await begins_with_zeros(dut, OperandMemory(NANO), OPERAND_WRITE, OPERAND_ROW)


@cocotb.test()
async def opens_as_the_sweep_goes(dut):
    await start(dut)
    await opens_row_by_row(dut, OperandMemory(NANO), OPERAND_WRITE)


@cocotb.test()
async def shows_nothing_from_before_a_reset(dut):
    await start(dut)
    await never_shows_what_was_there(dut, OperandMemory(NANO), OPERAND_WRITE)
