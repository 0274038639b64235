# SPDX-License-Identifier: Apache-2.0
"""The burst splitter: every offset and length is cut into legal bursts."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from hw.axi import BURST, MAX_BURST, TRANSFER
from hw.dma.splitter import BurstSplitter
from sim.runner import run_bench
from sim.streams import cycles, start
from tests.hw.support.axi_agents import BEAT, bursts_of

pytestmark = pytest.mark.rtl
LO = 0x8_0000_0000


def test_splitter():
    run_bench(BurstSplitter(), module=__name__)


@cocotb.test()
async def cuts_every_offset_and_length(dut):
    """All 256 aligned offsets x lengths 1..64, and longer ones."""
    await start(dut)
    cases = [(LO + BEAT * offset, beats) for offset in range(256) for beats in range(1, MAX_BURST + 1)]
    cases += [(0x1_FFFF_F000 + BEAT * offset, beats) for offset in (0, 1, 200, 255) for beats in (65, 1000, 4096)]
    beats_at = BURST["beats"].offset
    dut.o__ready.value = 1
    for addr, beats in cases:
        dut.i__valid.value, dut.i__payload.value = 1, addr | beats << TRANSFER["beats"].offset
        left = bursts_of(addr, beats)
        while left:
            await RisingEdge(dut.clk)
            if int(dut.o__valid.value):
                found = int(dut.o__payload.value)
                expected = left.pop(0)
                assert (found & (1 << 64) - 1, found >> beats_at) == (expected.addr, expected.beats), (hex(addr), beats)
                assert expected.addr // 4096 == (expected.addr + BEAT * expected.beats - 1) // 4096
            await FallingEdge(dut.clk)
            dut.i__valid.value = 0
    await cycles(dut, 10)
    assert not int(dut.o__valid.value) and not int(dut.busy.value)
