# SPDX-License-Identifier: Apache-2.0
"""Layer norms of all clusters against the reference model: any number of tokens, also fewer than clusters."""

from dataclasses import replace

import cocotb
import pytest

from golden.spec.machine import NANO
from hw.cluster.layernorms import ClusterLayerNorms
from hw.interfaces import ISSUE, LINE_BITS, OPERAND_WRITE, READ_LATENCY
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, half, never, seeded, start, until
from tests.hw.support.norm_case import Case, RowAnswers

CFG = replace(NANO, tm=8, clusters=4, serialization=1)


@pytest.mark.rtl
def test_layernorms():
    run_bench(ClusterLayerNorms(CFG), module=__name__)


@cocotb.test()
async def matches_golden(dut):
    await start(dut)
    rng = seeded()
    for stall in (never, half, bursts()):
        issue = Source(dut, "i", ISSUE)
        params = Source(dut, "i_param", LINE_BITS, stall=stall)
        rows = [RowAnswers(dut, f"o_read__{n}", f"i_row__{n}", stall, READ_LATENCY) for n in range(CFG.clusters)]
        writes = [Sink(dut, f"o__{n}", OPERAND_WRITE, stall=stall) for n in range(CFG.clusters)]
        for tokens in (1, 2, 3, 4, 5, 7, 8, 9, 13, 30):
            case = Case(rng, tokens, rng.choice([1, 2, 3, 6]), wide=rng.random() < 0.4, normalized=rng.random() < 0.4)
            for client in rows:
                client.rows = case.residual_rows()
            before = [len(sink.values) for sink in writes]
            feed = cocotb.start_soon(params.send(case.param_lines()))
            await issue.send([{"word": case.word()}])
            assert not int(dut.idle.value)
            await until(dut, lambda: int(dut.retired.value), 50_000, "retirement")
            await until(dut, lambda: int(dut.idle.value), 3, "idle")
            assert feed.done()
            compare(case, [sink.values[first:] for sink, first in zip(writes, before, strict=True)])
        for agent in (*rows, *writes):
            agent.task.cancel()


def compare(case: Case, of_cluster: list[list[dict]]) -> None:
    """All that was to be written, and nothing twice, except where a cluster has no token of its own."""
    expected, got = case.expected(), {}
    for writes in of_cluster:
        for write in writes:
            for n in range(2):
                if write["mask"] >> n & 1:
                    half_row = (write["data"] >> (256 * n) & ((1 << 256) - 1)).to_bytes(32, "little")
                    value = half_row, write["exp"][n]
                    assert got.get((write["row"], n), value) == value
                    got[write["row"], n] = value
    assert got == expected
    written = sum(bin(write["mask"]).count("1") for writes in of_cluster for write in writes)
    assert written == len(expected) or case.tokens % CFG.clusters
