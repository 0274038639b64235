# SPDX-License-Identifier: Apache-2.0
"""The burst splitter: every offset and length is cut into legal bursts."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.machine import MAX_BURST
from hw.axi import BURST, TRANSFER
from hw.dma.splitter import BurstSplitter
from sim.runner import run_bench
from sim.streams import cycles, start
from tests.hw.support.axi_agents import PORT_BEAT, bursts_of

pytestmark = pytest.mark.rtl
LO = 0x8_0000_0000


@pytest.mark.parametrize("beat, longest", [(16, 64), (16, 16), (32, 64), (32, 16)])
def test_splitter(beat, longest):
    run_bench(BurstSplitter(beat_bytes=beat, max_burst=longest), module=__name__, name=f"splitter_{beat}_{longest}",
              env={"PORT_BEAT": str(beat), "LONGEST": str(longest)})


@cocotb.test()
async def cuts_every_offset_and_length(dut):
    """All aligned offsets in a page x lengths 1..64, and longer ones."""
    await start(dut)
    places = 4096 // PORT_BEAT
    cases = [(LO + PORT_BEAT * offset, beats) for offset in range(places) for beats in range(1, MAX_BURST + 1)]
    cases += [(0x1_FFFF_F000 + PORT_BEAT * offset, beats) for offset in (0, 1, places - 56, places - 1)
              for beats in (65, 1000, 4096)]
    beats_at = BURST["beats"].offset
    dut.o__ready.value = 1
    for addr, beats in cases:
        dut.i__valid.value, dut.i__payload.value = 1, addr | beats << TRANSFER["beats"].offset
        left = bursts_of(addr, beats, beat=PORT_BEAT)
        while left:
            await RisingEdge(dut.clk)
            if int(dut.o__valid.value):
                found = int(dut.o__payload.value)
                expected = left.pop(0)
                assert (found & (1 << 64) - 1, found >> beats_at) == (expected.addr, expected.beats), (hex(addr), beats)
                assert expected.addr // 4096 == (expected.addr + PORT_BEAT * expected.beats - 1) // 4096
            await FallingEdge(dut.clk)
            dut.i__valid.value = 0
    await cycles(dut, 10)
    assert not int(dut.o__valid.value) and not int(dut.busy.value)
