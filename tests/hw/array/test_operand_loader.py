# SPDX-License-Identifier: Apache-2.0
"""Operand loader: the rows of each group, lane by lane, never more than fit; queue traversals; one row a cycle."""

import dataclasses
import itertools
import os

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec import isa
from golden.spec.isa import Dest, Index, Opcode, encode
from golden.spec.machine import NANO
from golden.spec.tiling import ceil_div
from hw.array.operand_loader import OperandLoader
from hw.array.token_group import group
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import ISSUE, QUEUE_ENTRY
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, half, never, reset, seeded, start, until

CONFIGS = {"nano": NANO, "wide": dataclasses.replace(NANO, tm=4, tk=16, lane_rows=16, ring_lines=1024)}
CFG = CONFIGS[os.environ.get("LOADER_CFG", "nano")]
DEPTH = 2 * CFG.lane_rows


@pytest.mark.parametrize("config", ["nano", "wide"])
def test_loader(config):
    run_bench(OperandLoader(CONFIGS[config]), module=__name__, name=f"loader-{config}", env={"LOADER_CFG": config})


def expect(issue: dict, entries: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[dict], int]:
    """(lane, operand row) in order, group records, lane rows of each group."""
    opcode, f = isa.decode(issue["word"])
    reads, groups, rows = [], [], []
    attention = opcode == Opcode.ATTENTION
    if attention:
        f |= {"src_index": 0, "dst_index": 0, "tokens": f["queries"], "src_row": f["q_row"],
              "src_stride": f["q_stride"], "src_wide": 0, "src_plane": 0, "dst": None}
    queued = f["src_index"] or f["dst_index"]
    count = issue["count"] if queued else f["tokens"]
    for pass_ in range(f["heads"] if attention else 1 if f["dst"] == Dest.GATE else f["tiles"]):
        start_row, row_count = 0, ceil_div(f.get("slices", 1), 4)
        if attention:
            start_row = pass_ * f["head_slices"] // 4
            row_count = (pass_ * f["head_slices"] + f["head_slices"] - 1) // 4 - start_row + 1
        extra = {Dest.RESIDUAL: pass_, Dest.OPERAND8: pass_ // 2, Dest.OPERAND16: pass_ // 2}.get(f["dst"], 0)
        for first in range(0, count, CFG.tm):
            tokens = range(first, min(first + CFG.tm, count))
            number = [entries[i][0] if entries else i for i in tokens]
            src = [n if f["src_index"] == Index.QUEUE_TOKEN else i for i, n in zip(tokens, number, strict=True)]
            dst = [n if f["dst_index"] == Index.QUEUE_TOKEN else i for i, n in zip(tokens, number, strict=True)]
            for plane in range(1 + f["src_wide"]):
                for row in range(row_count):
                    reads += [(lane, (f["src_row"] + s * f["src_stride"] + start_row + plane * f["src_plane"] + row)
                               & 0xFFFF) for lane, s in enumerate(src)]
            groups.append({"first": int(first == 0), "last": int(first + CFG.tm >= count), "count": len(tokens),
                           "lanes": [{"present": 1, "row": (f["dst_row"] + d * f["dst_stride"] + extra) & 0xFFFF,
                                      "token": d, **({"multiplier": entries[i][1]} if entries else {})}
                                     for i, d in zip(tokens, dst, strict=True)]})
            rows.append(row_count * (1 + f["src_wide"]))
    return reads, groups, rows


class Bench:
    """Operand memory, queue and the array's frees around the loader; checks writes as they come."""

    def __init__(self, dut, program: list[tuple[dict, list]], *, operand=never, entry=never, takes=never, free=1.0):
        self.dut, self.rng, self.operand, self.free_rate = dut, seeded("bench"), operand, free
        self.reads, self.groups, self.rows = [], [], []
        for issue, entries in program:
            for total, part in zip((self.reads, self.groups, self.rows), expect(issue, entries), strict=True):
                total += part
        self.queues = [(issue["expert"], entries, passes(issue)) for issue, entries in program if entries]
        self.asked, self.writes, self.freed, self.cycle, self.times = [], [], 0, 0, []
        self.sink = Sink(dut, "o_group", group(CFG), stall=takes)
        self.traversals = Sink(dut, "o_traverse", TRAVERSAL)
        self.entry = Source(dut, "i_entry", QUEUE_ENTRY, stall=entry)
        self.issue = Source(dut, "i", ISSUE)
        dut.free.value = 0
        self.tasks = [cocotb.start_soon(task) for task in (
            self.memory(), self.serve(), self.issue.send(issue for issue, _ in program))]

    async def serve(self):
        numbers = itertools.count()
        for _, entries, count in self.queues:
            for number in itertools.islice(numbers, count):
                await until(self.dut, lambda n=number: len(self.traversals.values) > n, 20_000, f"Traversal {number}")
                await self.entry.send({"token": t, "weight": w, "last": int(n == len(entries) - 1)}
                                      for n, (t, w) in enumerate(entries))

    async def memory(self):
        d, answers, loaded = self.dut, [], 0
        row_ends = []  # place in self.reads after each lane row
        for n, (lane, _) in enumerate(self.reads):
            if n + 1 == len(self.reads) or self.reads[n + 1][0] <= lane:
                row_ends.append(n + 1)
        while True:
            ready = int(not self.operand(self.rng))
            d.o_operand_read__ready.value = ready
            await RisingEdge(d.clk)
            asked = None
            if ready and int(d.o_operand_read__valid.value):
                asked = int(d.o_operand_read__payload.value)
                self.asked.append(asked)
                self.times.append(self.cycle)
            lanes = int(d.lane_en.value)
            if lanes:
                lane, row = self.reads[len(self.writes)]
                place = next(n for n, end in enumerate(row_ends) if end > len(self.writes))
                assert lanes == 1 << lane, f"Write {len(self.writes)} went to lanes {lanes:b}, expected lane {lane}."
                assert int(d.lane_row.value) == place % DEPTH
                assert place - self.freed < DEPTH, f"Lane row {place} overwrote one that was not free."
                got = int(d.lane_data.value) & 0xFFFF
                assert got == row, f"Write {len(self.writes)} brought operand row {got}, expected {row}."
                self.writes.append(row)
            now = int(d.loaded.value)
            loaded += (now - loaded) % (2 * DEPTH)
            assert loaded <= sum(end <= len(self.writes) for end in row_ends) and self.freed <= loaded
            if self.freed < loaded and self.rng.random() < self.free_rate:
                self.freed += 1
            self.cycle += 1
            await FallingEdge(d.clk)
            d.free.value = self.freed % (2 * DEPTH)
            d.i_operand_row.value = answers.pop() if answers else self.rng.getrandbits(512)
            if asked is not None:
                answers.append(asked | self.rng.getrandbits(400) << 16)

    async def finish(self):
        await until(self.dut, lambda: len(self.writes) >= len(self.reads) and len(self.sink.values) >= len(self.groups),
                    40_000, f"Write {len(self.reads)}")
        for _ in range(30):
            await FallingEdge(self.dut.clk)
        for task in (*self.tasks, self.sink.task, self.traversals.task):
            task.cancel()
        assert self.asked == [row for _, row in self.reads]
        experts = [e for e, _, n in self.queues for _ in range(n)]
        assert [traversal["expert"] for traversal in self.traversals.values] == experts
        for n, (want, got) in enumerate(zip(self.groups, self.sink.values, strict=True)):
            for name in ("first", "last", "count"):
                assert got[name] == want[name], f"Group {n}: {name} is {got[name]}, expected {want[name]}."
            for lane, have in enumerate(got["lanes"]):
                wanted = want["lanes"][lane] if lane < want["count"] else {"present": 0}
                assert {k: have[k] for k in wanted} == wanted, f"Group {n}, lane {lane}: {have}, expected {wanted}."


def passes(issue: dict) -> int:
    _, f = isa.decode(issue["word"])
    return f["tiles"]


def random_program(rng, length: int) -> list[tuple[dict, list]]:
    program = []
    for _ in range(length):
        places = {name: rng.randrange(1 << bits) for name, bits in (
            ("src_row", 16), ("src_stride", 8), ("dst_row", 16), ("dst_stride", 8))}
        issue, entries = {"expert": rng.randrange(64), "count": 0}, []
        if rng.random() < 0.25:
            issue["word"] = encode(
                Opcode.ATTENTION, heads=rng.randint(1, 5), head_slices=rng.choice([2, 4, 6, 8]), keys=1,
                queries=rng.randint(1, 9), q_row=places["src_row"], q_stride=places["src_stride"],
                dst_row=places["dst_row"], dst_stride=places["dst_stride"])
        else:
            index = rng.choice([(0, 0), (0, 0), (Index.QUEUE_TOKEN, Index.QUEUE_SLOT),
                                (Index.QUEUE_SLOT, Index.QUEUE_TOKEN)])
            dst = rng.choice(list(Dest)[:3] if index[0] else list(Dest))
            wide = rng.getrandbits(1)
            if index[0]:
                entries = [(rng.randrange(4096), rng.randrange(1 << 16)) for _ in range(rng.randint(1, 9))]
                issue["count"] = len(entries)
            issue["word"] = encode(
                Opcode.LINEAR, tokens=0 if entries else rng.randint(1, 11), tiles=rng.randint(1, 4), dst=dst,
                slices=rng.randint(1, 2 * CFG.lane_rows), src_wide=wide, src_plane=rng.randrange(256),
                src_index=index[0], dst_index=index[1], **places)
        program.append((issue, entries))
    return program


@cocotb.test()
async def loads_every_row_once(dut):
    await start(dut)
    bench = Bench(dut, random_program(seeded("plain"), 25))
    await bench.finish()
    cocotb.log.info("%s rows, %s groups, %s traversals", len(bench.reads), len(bench.groups),
                    len(bench.traversals.values))
    assert len(bench.reads) > 500 and len(bench.traversals.values) > 5


@cocotb.test()
async def loads_every_row_once_under_stalls(dut):
    await start(dut)
    for n, manners in enumerate((dict(operand=half, entry=half, takes=half, free=0.3),
                                 dict(operand=bursts(), entry=bursts(), takes=bursts(), free=0.05))):
        await Bench(dut, random_program(seeded(f"stalls{n}"), 8), **manners).finish()
        await reset(dut)


@cocotb.test()
async def sustains_one_row_a_cycle(dut):
    """First request LATENCY + n - 1 after the issue; then one a cycle across groups, tiles and instructions."""
    await start(dut)
    def issue(tokens, tiles):
        return {"word": encode(Opcode.LINEAR, tokens=tokens, tiles=tiles, slices=12, src_stride=3), "expert": 0,
                "count": 0}
    bench = Bench(dut, [(issue(4 * CFG.tm, 3), []), (issue(3 * CFG.tm + 1, 2), []), (issue(CFG.tm, 4), [])])
    await bench.finish()
    assert bench.times[0] == OperandLoader.LATENCY + CFG.tm - 1, bench.times[0]
    gaps = bench.times[-1] - bench.times[0] + 1 - len(bench.times)
    assert gaps == 0, f"{gaps} cycles without a request among {len(bench.times)}."
