# SPDX-License-Identifier: Apache-2.0
"""Residual memory: every client, priorities, read and write latency, rows beyond the end."""

import cocotb
import pytest

from golden.spec.machine import NANO
from hw.core.layouts import RESIDUAL_WRITE
from hw.mem.residual import ResidualMemory
from sim.runner import run_bench
from sim.streams import start
from tests.hw.row_memory import random_clients


@pytest.mark.rtl
def test_residual():
    run_bench(ResidualMemory(NANO), module=__name__)


@cocotb.test()
async def matches_a_plain_memory(dut):
    await start(dut)
    await random_clients(dut, ResidualMemory(NANO), RESIDUAL_WRITE, None)
