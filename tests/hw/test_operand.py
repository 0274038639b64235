# SPDX-License-Identifier: Apache-2.0
"""Operand memory: every client, priorities, read and write latency, rows beyond the end."""

import cocotb
import pytest

from golden.spec.machine import NANO
from hw.core.layouts import OPERAND_ROW, OPERAND_WRITE
from hw.mem.operand import OperandMemory
from sim.runner import run_bench
from sim.streams import start
from tests.hw.row_memory import random_clients


@pytest.mark.rtl
def test_operand():
    run_bench(OperandMemory(NANO), module=__name__)


@cocotb.test()
async def matches_a_plain_memory(dut):
    await start(dut)
    await random_clients(dut, OperandMemory(NANO), OPERAND_WRITE, OPERAND_ROW)
