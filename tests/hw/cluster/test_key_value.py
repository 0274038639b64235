# SPDX-License-Identifier: Apache-2.0
"""K and V memory in banks: every byte where the array wants it, whichever cluster writes it; clusters do not wait for
each other where tokens are in order."""

import os
from dataclasses import replace

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from golden.spec.machine import LANES, NANO, SLICE, TN
from hw.cluster.key_value import KeyBanks, ValueBanks
from hw.interfaces import KEY_WRITE, READ_LATENCY, VALUE_WRITE
from sim.runner import run_bench
from sim.streams import Source, bursts, cycles, half, never, seeded, start
from tests.hw.support.kv_memory import width_read

CONFIGS = {"two": replace(NANO, tm=4, clusters=2), "four": replace(NANO, tm=16, tk=16, clusters=4, ring_lines=2048)}
CFG = CONFIGS[os.environ.get("BANKS", "two")]
IS_KEY = os.environ.get("KIND", "key") == "key"
SHAPE = KEY_WRITE if IS_KEY else VALUE_WRITE


@pytest.mark.rtl
@pytest.mark.parametrize("kind", ["key", "value"])
@pytest.mark.parametrize("config", list(CONFIGS))
def test_banks(config, kind):
    unit = (KeyBanks if kind == "key" else ValueBanks)(CONFIGS[config])
    run_bench(unit, module=__name__, name=f"{kind}_banks-{config}", env={"BANKS": config, "KIND": kind})


@pytest.mark.parametrize("kind", [KeyBanks, ValueBanks])
def test_bytes_read_a_cycle_do_not_depend_on_the_clusters(kind):
    machines = [replace(CONFIGS["four"], tm=4 * clusters, clusters=clusters) for clusters in (1, 2, 4)]
    assert {width_read(kind(machine)) for machine in machines} == {8 * TN * machines[0].tk}


def make(rng, key: int) -> dict:
    """A write of ``key`` in a random tile."""
    write = {"tile": rng.randrange(CFG.kv_tiles), "data": [rng.randint(-127, 127) for _ in range(SLICE)]}
    return write | ({"column": key % TN} if IS_KEY else {"position": key % SLICE, "half": rng.randrange(2)})


def placed(write: dict):
    """(row, byte, value) of each byte of a write (golden.spec.tiling)."""
    for n, value in enumerate(write["data"]):
        if IS_KEY:
            yield (write["tile"] * CFG.steps + n // CFG.tk, write["column"] * CFG.tk + n % CFG.tk, value)
        else:
            yield (write["tile"] * CFG.steps + write["position"] // CFG.tk,
                   (write["half"] * LANES + n) * CFG.tk + write["position"] % CFG.tk, value)


async def swept(dut) -> None:
    """Reset, and the sweep after it, without a request."""
    dut.en.value = 0
    for n in range(CFG.clusters):
        getattr(dut, f"i__{n}__valid").value = 0
    await start(dut)
    await cycles(dut, CFG.kv_rows + 2)


async def send(dut, writes, stall) -> None:
    feeds = [cocotb.start_soon(Source(dut, f"i__{n}", SHAPE, stall=stall).send(mine))
             for n, mine in enumerate(writes)]
    for feed in feeds:
        await feed
    await cycles(dut, 2 + CFG.steps)


@cocotb.test()
async def keeps_every_byte(dut):
    """Each key is written by one cluster only, so that the order between clusters does not matter."""
    await swept(dut)
    rng, model = seeded(), {}
    owner = [rng.randrange(CFG.clusters) for _ in range(TN)]
    for stall in (never, half, bursts()):
        writes = [[] for _ in range(CFG.clusters)]
        for _ in range(600):
            key = rng.randrange(TN if IS_KEY else SLICE)
            writes[owner[key]].append(make(rng, key))
        await send(dut, writes, stall)
        for mine in writes:
            for write in mine:
                model |= {(row, byte): value & 255 for row, byte, value in placed(write)}
        for cycle in range(CFG.kv_rows + READ_LATENCY):
            dut.en.value, dut.row.value = 1, min(cycle, CFG.kv_rows - 1)
            if cycle >= READ_LATENCY:
                row, bits = cycle - READ_LATENCY, int(dut.o.value)
                wanted = sum(model.get((row, byte), 0) << 8 * byte for byte in range(CFG.row_bytes))
                wrong = [byte for byte in range(CFG.row_bytes) if bits >> 8 * byte & 255 != wanted >> 8 * byte & 255]
                assert not wrong, f"row {row}: the bytes {wrong} differ."
            await FallingEdge(dut.clk)


@cocotb.test()
async def clusters_write_at_once(dut):
    """Tokens in order: the lanes of a cluster have a bank of their own, and the clusters take as long as one."""
    await swept(dut)
    rng, lanes = seeded(), CFG.cluster.tm
    writes = [[make(rng, group * CFG.tm + n * lanes + lane) for group in range(8) for lane in range(lanes)]
              for n in range(CFG.clusters)]
    begun = cocotb.utils.get_sim_time("ns")
    await send(dut, writes, never)
    took = (cocotb.utils.get_sim_time("ns") - begun) / 10 - 2 - CFG.steps
    each = CFG.steps if IS_KEY else 1
    assert took == 8 * lanes * each - each + 1
