# SPDX-License-Identifier: Apache-2.0
"""Operand loader: the rows of each group, lane by lane, never more than fit; windows of a convolution, each source row
read once for a group; queue traversals; one row a cycle."""

import dataclasses
import itertools
import os

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec import isa
from golden.spec.isa import Dest, Edge, Index, Opcode, encode
from golden.spec.machine import NANO
from golden.spec.tiling import WINDOW, ceil_div, window_slices
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


@dataclasses.dataclass(frozen=True)
class Read:
    """An operand row, None for zeros, and the lane rows that it fills: their numbers, by lane. ``ends`` lane rows are
    complete after it."""

    row: int | None
    lanes: dict[int, int]
    ends: int = 0


def window_reads(f: dict, group: range, base: int) -> list[Read]:
    """Reads of a group of neighbouring results: each source position once for each line of their windows."""
    y, x = group[0] // f["width"], group[0] % f["width"]
    height, width = (length + 2 - bool(f["edges"] & before) - bool(f["edges"] & after) for length, before, after in (
        (f["lines"], Edge.TOP, Edge.BOTTOM), (f["width"], Edge.LEFT, Edge.RIGHT)))  # of the strip
    first_y, first_x = y - bool(f["edges"] & Edge.TOP), x - bool(f["edges"] & Edge.LEFT)
    reads = []
    for plane in range(1 + f["src_wide"]):
        for line in range(WINDOW):
            for row in range(f["window"]):
                for column in range(len(group) + WINDOW - 1):
                    at, to = first_y + line, first_x + column
                    there = 0 <= at < height and 0 <= to < width
                    address = (f["src_row"] + (at * f["pitch"] + to) * f["src_stride"] + row + plane * f["src_plane"])
                    lanes = {lane: base + column - lane for lane in range(len(group)) if 0 <= column - lane < WINDOW}
                    reads.append(Read(address & 0xFFFF if there else None, lanes, int(column >= len(group) - 1)))
                base += WINDOW
    return reads


def expect(issue: dict, entries: list[tuple[int, int]], base: int) -> tuple[list[Read], list[dict], int]:
    """Reads in order, group records, lane rows; ``base``: lane rows before."""
    opcode, f = isa.decode(issue["word"])
    reads, groups, before = [], [], base
    attention = opcode == Opcode.ATTENTION
    if attention:
        f |= {"src_index": 0, "dst_index": 0, "tokens": f["queries"], "src_row": f["q_row"],
              "src_stride": f["q_stride"], "src_wide": 0, "src_plane": 0, "dst": None, "window": 0}
    queued = f["src_index"] or f["dst_index"]
    count = issue["count"] if queued else f["tokens"]
    for pass_ in range(f["heads"] if attention else 1 if f["dst"] == Dest.GATE else f["tiles"]):
        start_row, row_count = 0, ceil_div(f.get("slices", 1), 4)
        if attention:
            start_row = pass_ * f["head_slices"] // 4
            row_count = (pass_ * f["head_slices"] + f["head_slices"] - 1) // 4 - start_row + 1
        extra = {Dest.RESIDUAL: pass_, Dest.OPERAND8: pass_ // 2, Dest.OPERAND16: pass_ // 2,
                 Dest.UNSIGNED8: pass_ // 2}.get(f["dst"], 0)
        length = f["width"] if f["window"] else count
        for tokens in (range(begin + n, begin + min(n + CFG.tm, length)) for begin in range(0, count, length)
                       for n in range(0, length, CFG.tm)):
            number = [entries[i][0] if entries else i for i in tokens]
            src = [n if f["src_index"] == Index.QUEUE_TOKEN else i for i, n in zip(tokens, number, strict=True)]
            dst = [n if f["dst_index"] == Index.QUEUE_TOKEN else i for i, n in zip(tokens, number, strict=True)]
            if f["window"]:
                reads += window_reads(f, tokens, base)
                base += WINDOW * WINDOW * f["window"] * (1 + f["src_wide"])
            else:
                for plane, row in itertools.product(range(1 + f["src_wide"]), range(row_count)):
                    offset = start_row + plane * f["src_plane"] + row
                    reads += [Read((f["src_row"] + s * f["src_stride"] + offset) & 0xFFFF, {lane: base},
                                   int(lane == len(src) - 1)) for lane, s in enumerate(src)]
                    base += 1
            groups.append({"first": int(tokens[0] == 0), "last": int(tokens[-1] == count - 1), "count": len(tokens),
                           "lanes": [{"present": 1, "row": (f["dst_row"] + d * f["dst_stride"] + extra) & 0xFFFF,
                                      "token": d, **({"multiplier": entries[i][1]} if entries else {})}
                                     for i, d in zip(tokens, dst, strict=True)]})
    return reads, groups, base - before


class Bench:
    """Operand memory, queue and the array's frees around the loader; checks writes as they come."""

    def __init__(self, dut, program: list[tuple[dict, list]], *, operand=never, entry=never, takes=never, free=1.0):
        self.dut, self.rng, self.operand, self.free_rate = dut, seeded("bench"), operand, free
        self.reads, self.groups, base = [], [], 0
        for issue, entries in program:
            reads, groups, rows = expect(issue, entries, base)
            self.reads, self.groups, base = self.reads + reads, self.groups + groups, base + rows
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
        d, answers, loaded, complete = self.dut, [], 0, 0
        bits = len(d.lane_row) // CFG.tm
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
                number, want = len(self.writes), self.reads[len(self.writes)]
                assert lanes == sum(1 << lane for lane in want.lanes), f"Write {number}: lanes {lanes:b}, {want}"
                for lane, place in want.lanes.items():
                    got = int(d.lane_row.value) >> lane * bits & (1 << bits) - 1
                    assert got == place % DEPTH, f"Write {number}, lane {lane}: to row {got}, expected {place % DEPTH}."
                    assert place - self.freed < DEPTH, f"Lane row {place} overwrote one that was not free."
                got = int(d.lane_data.value)
                assert got == 0 if want.row is None else got & 0xFFFF == want.row, f"Write {number}: {got:x}, {want}"
                self.writes.append(want.row)
                complete += want.ends
            now = int(d.loaded.value)
            loaded += (now - loaded) % (2 * DEPTH)
            assert loaded <= complete and self.freed <= loaded
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
        assert self.asked == [read.row for read in self.reads if read.row is not None]
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


def window_issue(rng, **fields) -> dict:
    """A convolution of a small strip, its fields at random but for ``fields``."""
    f = {"window": rng.randint(1, 4), "width": rng.randint(1, 2 * CFG.tm + 1), "lines": rng.randint(1, 3),
         "pitch": rng.randrange(1024), "edges": rng.randrange(16), "src_wide": rng.getrandbits(1),
         "src_plane": rng.randrange(256), "tiles": rng.randint(1, 2),
         "dst": rng.choice([Dest.UNSIGNED8, Dest.UNSIGNED8, Dest.OPERAND16, Dest.RESIDUAL])} | fields
    f |= {"tokens": f["width"] * f["lines"], "slices": window_slices(f["window"])}
    return {"word": encode(Opcode.LINEAR, **f), "expert": 0, "count": 0}


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
            if rng.random() < 0.4:
                program.append((window_issue(rng, **places), []))
                continue
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
    program = random_program(seeded("plain"), 80)
    bench = Bench(dut, program)
    await bench.finish()
    shared = [read for read in bench.reads if len(read.lanes) > 1]
    cocotb.log.info("%s rows, %s of them shared, %s beyond an edge, %s groups, %s traversals", len(bench.reads),
                    len(shared), len(bench.reads) - len(bench.asked), len(bench.groups), len(bench.traversals.values))
    assert len(bench.reads) > 500 and len(bench.traversals.values) > 5
    assert len(shared) > 500 and len(bench.reads) - len(bench.asked) > 100
    windows = [f for f in (isa.decode(issue["word"])[1] for issue, _ in program) if f.get("window")]
    for what, seen in (("rows", {f["window"] for f in windows}), ("wide", {f["src_wide"] for f in windows}),
                       ("edges", {f["edges"] >> side & 1 | side << 1 for f in windows for side in range(4)}),
                       ("rests", {f["width"] % CFG.tm for f in windows}),
                       ("narrow", {f["width"] < CFG.tm for f in windows})):
        wanted = {"rows": 4, "wide": 2, "edges": 8, "rests": CFG.tm, "narrow": 2}[what]
        assert len(seen) == wanted, f"{what}: the windows were only {seen}"


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
    window = window_issue(seeded("window"), edges=0, width=2 * CFG.tm + 1, lines=2)
    bench = Bench(dut, [(issue(4 * CFG.tm, 3), []), (issue(3 * CFG.tm + 1, 2), []), (window, []),
                        (issue(CFG.tm, 4), []), (window, []), (window, [])])
    await bench.finish()
    assert bench.times[0] == OperandLoader.LATENCY + CFG.tm - 1, bench.times[0]
    gaps = bench.times[-1] - bench.times[0] + 1 - len(bench.times)
    assert gaps == 0, f"{gaps} cycles without a request among {len(bench.times)}."
