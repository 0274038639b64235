# SPDX-License-Identifier: Apache-2.0
"""Token pruning against the reference model: ties, extreme scores, every size, stalls everywhere, rates, reset."""

import cocotb
import numpy as np
import pytest

from golden.ops.keep import kept
from golden.spec.isa import Opcode, encode
from golden.spec.machine import LINE, NANO, TN
from golden.spec.tiling import tiles
from host.performance.cycles import keep_cycles
from hw.dma.keep.keep import WORD, Keep
from hw.interfaces import LINE_BITS, RESIDUAL_WRITE, ROW_BITS
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until

pytestmark = pytest.mark.rtl
ROWS = NANO.residual_rows
LATENCY = 20
"""Cycles of the unit and of the bench's memory around the work that the performance model counts."""


def test_keep():
    run_bench(Keep(NANO), module=__name__)


class Testbench:
    """The unit's neighbour: the residual memory, answering requests in order, at any time, after earlier writes."""

    def __init__(self, dut, *, stall=never):
        self.dut, self.rng = dut, np.random.default_rng(seeded("memory").getrandbits(64))
        self.memory = self.rng.integers(-(1 << 15), 1 << 15, (ROWS, TN)).astype("<i2")
        self.issue = Source(dut, "i", WORD.size)
        self.reads = Sink(dut, "o_read", ROW_BITS, stall=stall)
        self.rows = Source(dut, "i_row", LINE_BITS, stall=stall)
        self.writes = Sink(dut, "o", RESIDUAL_WRITE, stall=stall)
        self.answered = self.written = 0
        cocotb.start_soon(self._answer())

    def land(self):
        """What was written so far is in the memory."""
        for write in self.writes.values[self.written:]:
            assert write["mask"] == 3
            self.memory[write["row"]] = np.frombuffer(write["data"].to_bytes(LINE, "little"), "<i2")
        self.written = len(self.writes.values)

    async def _answer(self):
        while True:
            while self.answered >= len(self.reads.values):
                await cycles(self.dut, 1)
            self.land()
            row = self.memory[self.reads.values[self.answered]].tobytes()
            self.answered += 1
            await self.rows.send([int.from_bytes(row, "little")])

    async def run(self, limit=50_000, **fields):
        """One instruction, compared with the reference model; cycles from it to ``idle``."""
        f, wanted = fields, self.memory.copy()
        score = wanted[f["score_row"]:].reshape(-1)[:f["tokens"]].copy()
        chosen = kept(score, f["first"], f["keep"])
        tokens = wanted[f["row"]:f["row"] + f["tokens"] * f["blocks"]].reshape(f["tokens"], -1).copy()
        wanted[f["row"]:f["row"] + f["keep"] * f["blocks"]] = tokens[chosen].reshape(-1, TN)
        numbers = np.zeros(tiles(f["keep"]) * TN, np.int16)
        numbers[:f["keep"]] = chosen
        wanted[f["score_row"]:f["score_row"] + tiles(f["keep"])] = numbers.reshape(-1, TN)
        before = len(self.writes.values)
        await self.issue.send([encode(Opcode.KEEP, **fields)])
        taken = await until(self.dut, lambda: int(self.dut.idle.value) == 1, limit, "the last row")
        assert len(self.writes.values) == before + f["keep"] * f["blocks"] + tiles(f["keep"]), fields
        self.land()
        assert np.array_equal(self.memory, wanted), fields
        await cycles(self.dut, 2)
        return taken


def job(tb, **fixed):
    """Fields of an instruction that fits the memory, and scores of some kind for it."""
    rng, f = tb.rng, dict(fixed)
    tokens = f.setdefault("tokens", int(rng.choice([1, 2, 3, 4, 5, 31, 32, 33, rng.integers(1, 65), 64])))
    keep = f.setdefault("keep", int(rng.choice([1, tokens, rng.integers(1, tokens + 1)])))
    f.setdefault("first", int(rng.choice([0, min(1, keep), rng.integers(0, min(keep, 127) + 1)])))
    f.setdefault("blocks", int(rng.integers(1, min(63, (ROWS - 2) // tokens) + 1)))
    below = bool(rng.integers(2))  # the scores lie before the tokens, or after them
    size, rows = tokens * f["blocks"], tiles(tokens)
    row = int(rng.integers(rows if below else 0, ROWS - size - (0 if below else rows) + 1))
    f |= {"row": row, "score_row": int(rng.integers(0, row - rows + 1)) if below else row + size}
    kind = rng.integers(6)
    score = rng.integers(-(1 << 15), 1 << 15, rows * TN)
    if kind == 1:
        score = rng.integers(-2, 3, rows * TN)
    elif kind == 2:
        score = rng.choice([-(1 << 15), (1 << 15) - 1], rows * TN)
    elif kind == 3:
        score[:] = rng.choice([-(1 << 15), -1, 0, (1 << 15) - 1])
    elif kind == 4:
        score = np.sort(score)
    tb.memory[f["score_row"]:f["score_row"] + rows] = score.reshape(-1, TN)
    return f


@cocotb.test()
async def keeps_the_largest_scores(dut):
    await start(dut)
    policies, current = [never, half, bursts()], {"policy": never}
    tb, seen = Testbench(dut, stall=lambda r: current["policy"](r)), set()
    for index in range(150):
        current["policy"] = policies[index % len(policies)]
        f = job(tb)
        seen |= {("all", f["keep"] == f["tokens"]), ("first", f["first"] > 0), ("ragged", f["tokens"] % TN != 0)}
        await tb.run(**f)
    assert len(seen) == 6


@cocotb.test()
async def takes_the_cycles_of_the_performance_model(dut):
    await start(dut)
    tb = Testbench(dut)
    for tokens, keep, blocks in ((33, 24, 7), (64, 45, 3), (12, 12, 6), (64, 2, 1)):
        f = job(tb, tokens=tokens, keep=keep, blocks=blocks, first=1)
        taken, counted = await tb.run(**f), keep_cycles(NANO, f)
        assert abs(taken - counted) <= LATENCY, (f, taken, counted)


@cocotb.test()
async def begins_anew_after_a_reset(dut):
    await start(dut)
    rng = seeded("reset")
    for _ in range(8):
        tb = Testbench(dut)
        await tb.issue.send([encode(Opcode.KEEP, **job(tb, tokens=64, keep=40, blocks=3))])
        await cycles(dut, rng.randint(1, 700))
        await reset(dut)
        tb = Testbench(dut)
        await tb.run(**job(tb))
