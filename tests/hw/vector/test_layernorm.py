# SPDX-License-Identifier: Apache-2.0
"""Layer norm against its reference model: every result kind, ragged pairs, flat and extreme rows, stalls, timing,
reset."""

import os
from dataclasses import replace

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge

from golden.ops.arith import rsh
from golden.ops.layernorm import layernorm, normalise
from golden.spec.machine import NANO
from golden.spec.model import BLOCK
from hw.interfaces import ISSUE, LINE_BITS, OPERAND_WRITE, READ_LATENCY
from hw.vector.layernorm.layernorm import LayerNorm
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until
from tests.hw.support.norm_case import Case, RowAnswers

CFG = replace(NANO, serialization=int(os.environ.get("NORM_SERIALIZATION", NANO.serialization)))


@pytest.mark.rtl
@pytest.mark.parametrize("serialization", (1, 4, 8))
def test_norm(serialization):
    run_bench(LayerNorm(replace(NANO, serialization=serialization)), module=__name__, name=f"norm-{serialization}",
              env={"NORM_SERIALIZATION": str(serialization)})


class Bench:
    def __init__(self, dut, *, stall=never):
        self.dut = dut
        self.issue = Source(dut, "i", ISSUE, stall=stall)
        self.params = Source(dut, "i_param", LINE_BITS, stall=stall)
        self.rows = RowAnswers(dut, "o_read", "i_row", stall, READ_LATENCY)
        self.writes = Sink(dut, "o", OPERAND_WRITE, stall=stall)
        self.retired = 0
        cocotb.start_soon(self._watch())

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.retired += int(self.dut.retire.value) and not int(self.dut.rst.value)

    async def run(self, case: Case) -> None:
        before, count, asked = self.retired, len(self.writes.values), len(self.rows.asked)
        self.rows.rows = case.residual_rows()
        params = cocotb.start_soon(self.params.send(case.param_lines()))
        try:
            await self.issue.send([{"word": case.word()}])
            assert not int(self.dut.idle.value), "idle right after an instruction was accepted"
            await until(self.dut, lambda: self.retired > before, 200_000, "retire")
            await until(self.dut, lambda: int(self.dut.idle.value), 3, "idle")
            assert params.done(), "retired before all parameters were taken"
        finally:
            params.cancel()
        assert len(self.rows.asked) - asked == case.tokens * case.blocks, "each row is read once"
        self.compare(case, self.writes.values[count:])

    @staticmethod
    def compare(case, writes):
        expected, got = case.expected(), {}
        for write in writes:
            for n in range(2):
                if write["mask"] >> n & 1:
                    assert (write["row"], n) not in got, f"row {write['row']}, half {n} written twice"
                    got[write["row"], n] = (write["data"] >> (256 * n) & ((1 << 256) - 1)).to_bytes(32, "little"), \
                        write["exp"][n]
        assert got.keys() == expected.keys(), f"rows {sorted(set(got) ^ set(expected))[:8]} written wrongly or not"
        for key, value in expected.items():
            assert got[key] == value, (f"row {key[0]}, half {key[1]} of {case.tokens} x {case.blocks}: "
                                       f"exp {got[key][1]} {list(got[key][0])}, expected {value[1]} {list(value[0])}")


def coverage(cases: list[Case]) -> None:
    """What the stimulus exercises; a bench that stops exercising it fails."""
    exps, ties, clipped, flat = np.zeros(4, int), 0, 0, 0
    for case in cases:
        operand, normalized = layernorm(case.x, case.record())
        wide_sum = normalized.astype(np.int64) * case.gain + case.offset
        raw = rsh(wide_sum, case.shift)
        if not case.wide:
            exps += np.bincount(operand.exp.ravel(), minlength=4)
        ties += int(np.sum((wide_sum << 1 >> case.shift) & 1)) if case.shift else 0
        clipped += int(np.sum((raw < -32768) | (raw > 32767)))
        flat += int(np.sum(case.x.max(1) == case.x.min(1)))
    print(f"coverage: exponents {exps}, {ties} rounded up, {clipped} beyond 16 bits, {flat} flat rows")
    assert exps.min() > 5 and ties > 1000 and clipped > 10 and flat > 1
    assert {case.normalized_shift for case in cases if case.normalized or case.wide} == {0, 1, 2, 3}


KINDS = ["spread", "spread", "flat", "tiny", "extreme", "spike"]


def random_cases(rng, count: int) -> list[Case]:
    return [Case(rng, rng.randint(1, 9), rng.choice([1, 2, 3, 5, 6, 12]), wide=rng.random() < 0.4,
                 normalized=rng.random() < 0.4, kind=KINDS[n % len(KINDS)]) for n in range(count)]


@cocotb.test()
async def matches_golden(dut):
    await start(dut)
    rng = seeded()
    cases = random_cases(rng, 260) + [Case(rng, 3, 32, wide=wide, normalized=not wide) for wide in (False, True)]
    coverage(cases)
    bench = Bench(dut)
    for case in cases:
        await bench.run(case)


@cocotb.test()
async def matches_golden_when_stalled(dut):
    await start(dut)
    bench = Bench(dut, stall=half)
    for case in random_cases(seeded(), 12):
        await bench.run(case)


@cocotb.test()
async def matches_golden_in_bursts(dut):
    """Long enough for the ring, the token tables and the queue to fill and drain."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut, stall=bursts())
    for blocks in (1, 6):
        await bench.run(Case(rng, 60, blocks, wide=True, normalized=True))


@cocotb.test()
async def normalises_the_widest_sums(dut):
    """1024 channels at the ends of the range: the largest S1, S2 and V, and V = 1."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    case = Case(rng, 4, 32, wide=True, normalized=True, kind="extreme")
    case.x[0], case.x[1], case.x[2, ::2], case.x[2, 1::2] = -32768, 32767, -32768, 32767
    case.eps = 0
    assert normalise(case.x, 0)[0].max() == 0
    for case.normalized_shift in range(4):
        await bench.run(case)


@cocotb.test()
async def quantizes_blocks_at_every_boundary(dut):
    """One value decides a block: v = offset (gain 0, shift 0) at the ends of each exponent's range and next to them."""
    await start(dut)
    rng = seeded()
    bench = Bench(dut)
    edges = [side * (128 << e) + d for e in range(4) for side in (-1, 1) for d in range(-6, 7)]
    edges += [-32768, 32767, -32769, 32768, -(1 << 31), (1 << 31) - 1]
    exps = set()
    for first in range(0, len(edges), 32):
        part = edges[first:first + 32]
        case = Case(rng, 1, len(part), wide=False, normalized=False)
        case.shift, case.gain[:], case.offset = 0, 0, np.zeros(len(case.gain), np.int64)
        for block, edge in enumerate(part):
            case.offset[block * BLOCK + rng.randrange(BLOCK)] = edge
        exps |= set(layernorm(case.x, case.record())[0].exp.ravel().tolist())
        await bench.run(case)
    assert exps == {0, 1, 2, 3}


@cocotb.test()
async def keeps_its_latency_and_interval(dut):
    """A row takes F cycles: LATENCY + F * (T + 1) * B cycles from the issue to the last write. More only for parameters
    that take longer than the first token, and for planes that a pair's results leave no time for.
    """
    await start(dut)
    rng = seeded()
    bench, unit, serialization = Bench(dut), LayerNorm(CFG), CFG.serialization
    for tokens, blocks, wide, normalized in ((1, 2, 0, 0), (8, 6, 0, 0), (20, 12, 0, 0), (2, 32, 0, 0), (40, 6, 1, 0),
                                       (40, 6, 0, 1), (40, 6, 1, 1)):
        case = Case(rng, tokens, blocks, wide=bool(wide), normalized=bool(normalized))
        await until(dut, lambda: int(dut.idle.value), 5, "idle")
        began = bench.writes.cycle
        await bench.run(case)
        took = bench.writes.times[-1] - began
        further, pairs = wide + 2 * normalized, tokens * blocks // 2  # planes after the first
        late = max(0, 2 * serialization * blocks - unit.KNOWN)
        drained = further * pairs if serialization > 1 else further + max(0, further - 1) * (pairs - 1)
        latency = took - serialization * (tokens + 1) * blocks - late - drained
        assert latency == unit.LATENCY, f"{tokens} x {blocks}, {further} more planes: latency {latency}"


@cocotb.test()
async def starts_clean_after_reset(dut):
    await start(dut)
    rng = seeded()
    for cut in (10, 70, 110):
        bench = Bench(dut)
        case = Case(rng, 12, 6, wide=False, normalized=True)
        task = cocotb.start_soon(bench.run(case))
        await cycles(dut, cut)
        task.cancel()
        await cycles(dut, 1)  # lets it stop driving
        dut.i__valid.value = dut.i_param__valid.value = 0
        await reset(dut)
        for part in (bench.rows, bench.writes):
            part.task.cancel()
        bench = Bench(dut)
        await bench.run(Case(rng, 3, 3, wide=True, normalized=True))
        await bench.run(Case(rng, 3, 2, wide=False, normalized=False))
        for part in (bench.rows, bench.writes):
            part.task.cancel()
