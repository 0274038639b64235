# SPDX-License-Identifier: Apache-2.0
"""Gate merge: beats of all clusters in the order of the tokens, whichever cluster is ahead."""

from dataclasses import replace

import cocotb
import pytest

from golden.spec.machine import LANES, NANO
from hw.cluster.gate_merge import GateMerge
from hw.interfaces import GATE_BEAT
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, seeded, start

CFG = replace(NANO, tm=8, clusters=4)


@pytest.mark.rtl
def test_gate_merge():
    run_bench(GateMerge(CFG), module=__name__)


@cocotb.test()
async def tokens_stay_in_order(dut):
    await start(dut)
    rng, lanes, number = seeded(), CFG.cluster.tm, 0
    for stalls in ((never, never), (half, never), (bursts(), half), (never, bursts())):
        tiles, expected, of_cluster = [], [], [[] for _ in range(CFG.clusters)]
        for _ in range(60):
            count = rng.randint(0, CFG.tm)
            tile, tokens = rng.randrange(4), range(number, number + count)
            number += count
            tiles.append((1 << count) - 1)
            for lane, token in enumerate(tokens):
                for low in (0, 1):
                    beat = {"value": [token, *[0] * (LANES - 1)], "low": low, "tile": tile}
                    expected.append(beat)
                    of_cluster[lane // lanes].append(beat)
        sink = Sink(dut, "o", GATE_BEAT, stall=stalls[1])
        feeds = [cocotb.start_soon(Source(dut, "i_tile", CFG.tm).send(tiles))]
        feeds += [cocotb.start_soon(Source(dut, f"i__{n}", GATE_BEAT, stall=stalls[0]).send(beats))
                  for n, beats in enumerate(of_cluster)]
        got = await sink.receive(len(expected))
        assert got == expected, next(n for n, pair in enumerate(zip(got, expected, strict=True)) if pair[0] != pair[1])
        for feed in feeds:
            await feed
        await cycles(dut, 4 * CFG.clusters * len(tiles))  # tiles without a token
        assert len(sink.values) == len(expected)
        sink.task.cancel()
