# SPDX-License-Identifier: Apache-2.0
"""Enlargement against the reference model: every combination of edges, stalls everywhere, reads, rates, reset."""

import cocotb
import numpy as np
import pytest

from golden.ops.upsample import upsample
from golden.spec.isa import Edge, Opcode, encode
from golden.spec.machine import LINE, ZCU102
from golden.spec.tiling import upsampled
from hw.dma.upsample.line_pairs import STRIP
from hw.dma.upsample.upsample import Upsample
from hw.interfaces import LINE_BITS, OPERAND_WRITE, ROW_BITS
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until

pytestmark = pytest.mark.rtl
ROWS = ZCU102.operand_rows


def test_upsample():
    run_bench(Upsample(), module=__name__)


class Testbench:
    """The unit's neighbours: the operand memory as an array of bytes, answering requests in order, at any time."""

    def __init__(self, dut, *, stall=never):
        self.dut, rng = dut, np.random.default_rng(seeded("memory").getrandbits(64))
        self.memory = rng.integers(0, 256, (ROWS, LINE), np.uint8)
        self.memory[rng.random(self.memory.shape) < 0.2] = 255
        self.memory[rng.random(self.memory.shape) < 0.2] = 0
        self.issue = Source(dut, "i", STRIP.size)
        self.reads = Sink(dut, "o_read", ROW_BITS, stall=stall)
        self.rows = Source(dut, "i_row", LINE_BITS, stall=stall)
        self.writes = Sink(dut, "o", OPERAND_WRITE, stall=stall)
        self.answered = 0
        cocotb.start_soon(self._answer())

    async def _answer(self):
        while True:
            while self.answered >= len(self.reads.values):
                await cycles(self.dut, 1)
            row = self.memory[self.reads.values[self.answered]].tobytes()
            self.answered += 1
            await self.rows.send([int.from_bytes(row, "little")])

    async def run(self, limit=100_000, **fields):
        """Enlarge one strip and compare every row written; cycles from the instruction to ``idle``."""
        first, asked = len(self.writes.values), len(self.reads.values)
        await self.issue.send([encode(Opcode.UPSAMPLE, **fields)])
        taken = await until(self.dut, lambda: int(self.dut.idle.value) == 1, limit, "the last result")
        await cycles(self.dut, 3)
        f, rows = fields, fields["rows"]
        positions = np.arange(f["lines"])[:, None] * f["pitch"] + np.arange(f["width"])
        at = f["src_row"] + positions[..., None] * rows + np.arange(rows)
        wanted = upsample(self.memory[at].reshape(f["lines"], f["width"], -1), f["edges"]).reshape(-1, LINE)
        got = self.writes.values[first:]
        assert len(got) == len(wanted) and all(w["mask"] == 3 and w["exp"] == [0, 0] for w in got), fields
        came = {write["row"] - f["dst_row"]: write["data"] for write in got}
        assert sorted(came) == list(range(len(wanted))), f"{fields}: rows {sorted(came)}"
        for n, row in enumerate(wanted):
            assert came[n] == int.from_bytes(row.tobytes(), "little"), f"{fields}: row {n}"
        assert set(self.reads.values[asked:]) == set(at.reshape(-1).tolist())
        return taken


def strip(rng, **fixed):
    """A random strip that fits the memory."""
    f = {"rows": rng.randint(1, 4), "width": rng.randint(2, 9), "lines": rng.randint(2, 6), "edges": rng.randrange(16)}
    f |= fixed
    f["pitch"] = max(2, f["width"] + rng.choice([0, 0, 1, rng.randint(0, 9), -1]))
    f["src_row"] = rng.randint(0, ROWS - f["rows"] * (f["pitch"] * f["lines"] + f["width"]))
    return f | {"dst_row": rng.randint(0, ROWS - 4 * f["rows"] * f["width"] * f["lines"])} | fixed


@cocotb.test()
async def enlarges_any_strip(dut):
    """All edges, without stalls and with them; a pitch below the width makes lines overlap, which is legal."""
    await start(dut)
    rng, current = seeded("strips"), {"policy": never}
    tb = Testbench(dut, stall=lambda r: current["policy"](r))
    for edges in range(16):
        for policy in (never, half, bursts()):
            current["policy"] = policy
            await tb.run(**strip(rng, edges=edges))
        await tb.run(**strip(rng, edges=edges, width=2, lines=2))


@cocotb.test()
async def finds_its_place_in_wide_and_high_maps(dut):
    """Every bit of width, lines, pitch and operand rows of a position counts."""
    await start(dut)
    tb = Testbench(dut)
    every = int(sum(Edge))
    for edges, rows, width, lines, pitch in ((every, 1, 1023, 2, 1023), (0, 1, 300, 3, 1000), (0, 15, 5, 3, 60),
                                             (every, 1, 2, 255, 2), (Edge.RIGHT, 8, 17, 3, 85), (0, 2, 2, 129, 3)):
        await tb.run(src_row=7, dst_row=1000, rows=rows, width=width, lines=lines, pitch=pitch, edges=int(edges))


@cocotb.test()
async def writes_a_row_a_cycle_and_reads_half_of_that(dut):
    await start(dut)
    tb = Testbench(dut)
    for edges, rows, width, lines in ((0, 1, 40, 6), (15, 2, 20, 5), (Edge.RIGHT | Edge.TOP, 3, 12, 8), (0, 4, 10, 10)):
        top, bottom, left, right = (edges >> side & 1 for side in range(4))
        asked = len(tb.reads.values)
        taken = await tb.run(src_row=0, dst_row=1000, rows=rows, width=width, lines=lines, pitch=width, edges=edges)
        results = rows * upsampled(width, left + right) * upsampled(lines, top + bottom)
        pairs, singles = rows * (lines - 1), rows * (top + bottom)
        over = taken - results - pairs * (Upsample.PAIR + right) - singles * (Upsample.SINGLE + left)
        dut._log.info("%d results, %.3f cycles each, %d cycles more than the bound of pairs", results, taken / results,
                      over)
        assert 0 <= over <= Upsample.LATENCY + 10
        assert len(tb.reads.values) - asked == 2 * width * (pairs + singles)
        times = tb.writes.times[-results:]
        steps = [b - a for a, b in zip(times, times[1:], strict=False)]
        assert steps.count(Upsample.II) >= len(steps) - 3 * (pairs + singles)


@cocotb.test()
async def keeps_its_latency(dut):
    await start(dut)
    tb = Testbench(dut)
    begun = tb.reads.cycle
    await tb.run(src_row=0, dst_row=1000, rows=1, width=2, lines=2, pitch=2, edges=0)
    assert tb.reads.times[0] - begun == Upsample.LATENCY, tb.reads.times


@cocotb.test()
async def works_again_after_a_reset_in_mid_stream(dut):
    await start(dut)
    rng = seeded("reset")
    tb = Testbench(dut, stall=half)
    for _ in range(10):
        await tb.issue.send([encode(Opcode.UPSAMPLE, **strip(rng, width=9, lines=6))])
        await cycles(dut, rng.randint(1, 150))
        await reset(dut)
        tb.answered = len(tb.reads.values)
        await cycles(dut, 40)  # an answer that is on its way gets lost
        await reset(dut)
        await tb.run(**strip(rng))
