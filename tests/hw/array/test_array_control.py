# SPDX-License-Identifier: Apache-2.0
"""Array control against the loops of the ISA: every beat, context, job and release; windows; bubbles; stalls;
bandwidth."""

import dataclasses
import itertools
import os

import cocotb
import pytest

from golden.iss import execute
from golden.iss.memories import Memories
from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.isa import Dest, Opcode, decode, encode
from golden.spec.machine import LINE, NANO, TN, MachineConfig
from golden.spec.tiling import ceil_div, window_slices
from hw.array.array_control import ArrayControl
from sim.runner import run_bench
from sim.streams import bursts, half, reset, seeded, start
from tests.hw.support.array_model import BEYOND, Testbench, window_row
from tests.hw.support.array_neighbours import Manners, Neighbours
from tests.hw.support.array_programs import linear, random_program, random_window

CONFIGS = {
    "nano": NANO,
    "wide": dataclasses.replace(NANO, name="wide", tm=4, tk=16, lane_rows=16, ring_lines=2048, kv_tiles=64),
    "tall": dataclasses.replace(NANO, name="tall", tm=8, tk=4),
    "large": dataclasses.replace(NANO, name="large", tm=16, tk=16, lane_rows=16, ring_lines=2048, kv_tiles=64),
}
CFG: MachineConfig = CONFIGS[os.environ.get("ARRAY_CFG", "nano")]


@pytest.mark.parametrize("config", list(CONFIGS))
def test_array_control(config):
    some = ["programs_match_the_loops", "blocks_hide_the_loading_of_operands",
            "key_and_value_bytes_do_not_grow_with_lanes"]
    more = {"tall": ["windows_have_no_bubble"], "large": ["programs_match_under_stalls", "retained_weights_are_reused"]}
    run_bench(ArrayControl(CONFIGS[config]), module=__name__, name=f"array_control-{config}",
              tests=some + more[config] if config in more else None, env={"ARRAY_CFG": config})


@pytest.mark.parametrize("edges", range(16))
def test_windows_of_the_loops_are_those_of_the_simulator(edges):
    """Rows and zeros of every window, as ``golden.iss`` reads them."""
    tb, memories = Testbench(NANO, 3), Memories(NANO)
    for row in range(NANO.operand_rows):
        data, exp = tb.operand(row)
        memories.operand[row], memories.exp[row] = list(data), exp
    for window, width, lines, wide in itertools.product((1, 3), (1, 4), (1, 3), (0, 1)):
        f = {"src_row": 7, "src_stride": 6, "src_plane": 3, "pitch": 8, "edges": edges, "window": window,
             "width": width, "lines": lines, "src_wide": wide, "src_unsigned": 1 - wide}
        operand = execute._window(f, memories)
        for plane, part in enumerate(operand.planes() if wide else [operand.bytes]):
            found = [window_row(f, i, number) for i in range(lines * width) for number in range(9 * window)]
            rows = [bytes(64) if row == BEYOND else tb.operand(row + plane * f["src_plane"])[0] for row in found]
            assert b"".join(rows) == part.tobytes(), (f, plane)
        if not wide:
            exps = [(0, 0) if row == BEYOND else tb.operand(row)[1] for row in found]
            assert exps == [tuple(pair) for pair in operand.exp.reshape(-1, 2).tolist()]


async def run(dut, issues, manners=None, tb=None, salt="") -> Neighbours:
    neighbours = Neighbours(dut, tb or Testbench(CFG, 1), issues, manners or Manners(), salt)
    await neighbours.finish()
    return neighbours


def gaps(neighbours: Neighbours) -> int:
    """Cycles without a beat between the first and the last."""
    times = [cycle for cycle, _ in neighbours.beats]
    return times[-1] - times[0] + 1 - len(times)


@cocotb.test()
async def linear_after_linear_has_no_bubble(dut):
    """K = 192: 12 slices; loading a group takes as long as computing it when tm = 4 and tk = 16."""
    await start(dut)
    issues = [linear(tokens=3 * CFG.tm, tiles=3, slices=12, src_row=5, src_stride=3, dst=Dest.OPERAND8, dst_row=100,
                     dst_stride=3, shift1=5),
              linear(tokens=2 * CFG.tm, tiles=2, slices=12, src_row=9, src_stride=3, dst=Dest.RESIDUAL, dst_row=0,
                     dst_stride=6, accumulate=1),
              linear(tokens=5 * CFG.tm, tiles=1, slices=12, src_row=9, src_stride=6, src_plane=3, src_wide=1,
                     dst=Dest.KEY, dst_stride=12)]
    got = await run(dut, issues, Manners(release=(12, 12)))
    assert gaps(got) == 0, f"{gaps(got)} bubbles in {len(got.beats)} beats; {got.counts}"
    assert not got.counts["wait_weights"] and not got.counts["wait_drain"], got.counts
    assert got.beats[0][0] == ArrayControl(CFG).LATENCY, f"The first beat came after {got.beats[0][0]} cycles."


@cocotb.test()
async def blocks_hide_the_loading_of_operands(dut):
    """Tiles of a block share a group's operand rows: with blocks of tm * tk / 64 tiles no beat waits for a row."""
    await start(dut)
    tiles = max(1, CFG.tm * CFG.tk // LINE)
    shape = {"tokens": 3 * CFG.tm, "slices": 4, "src_row": 5, "src_stride": 3, "dst": Dest.RESIDUAL, "dst_stride": 8}
    got = await run(dut, [linear(**shape, tiles=2 * tiles, block=tiles - 1), linear(**shape, tiles=7, block=6)],
                    Manners(release=(2, 2)))
    assert gaps(got) == 0, f"{gaps(got)} bubbles in {len(got.beats)} beats; {got.counts}"
    assert got.loads == 3 * CFG.tm * 3


@cocotb.test()
async def windows_have_no_bubble(dut):
    """Groups, lines, tiles and LINEARs follow each other without a gap; the last group of a line is not full. Half as
    many operand rows are read as the lanes get when tm = 4."""
    await start(dut)
    rng, rows = seeded("window"), min(4, CFG.ring_rows // CFG.steps // window_slices(1))
    shape = {"window": rows, "width": 2 * CFG.tm + 1, "lines": 2, "dst": Dest.UNSIGNED8, "src_wide": 0, "edges": 0}
    issues = [random_window(CFG, rng, **shape | change) for change in (
        {"tiles": 2}, {"edges": 15, "tiles": 1}, {"src_wide": 1, "src_unsigned": 0, "tiles": 1, "lines": 1})]
    issues.insert(2, linear(tokens=2 * CFG.tm, tiles=1, slices=12, src_stride=3, dst=Dest.OPERAND8, dst_stride=1))
    got = await run(dut, issues, Manners(release=(12, 12)))
    assert gaps(got) == 0, f"{gaps(got)} bubbles in {len(got.beats)} beats; {got.counts}"
    lasts = [n + 1 for n, beat in enumerate(got.loops.beats) if beat["last"]]
    assert lasts[0] == lasts[1] - lasts[0] == window_slices(rows) * CFG.steps
    cocotb.log.info("%s operand rows a position: %s beats a group", rows, lasts[0])
    times = [cycle for cycle, _ in got.beats]
    assert times[0] == ArrayControl(CFG).LATENCY, f"The first beat came after {times[0]} cycles."


@cocotb.test()
async def programs_match_the_loops(dut):
    rng, tb = seeded("programs"), Testbench(CFG, 2)
    await start(dut)
    issues = [*random_program(rng, tb, 60), *(random_window(CFG, rng, src_wide=wide, src_unsigned=0, packed=packed)
                                              for wide in (0, 1) for packed in (0, 1))]
    got = await run(dut, issues, tb=tb)
    coverage = {kind: sum(beat["kind"] == kind for beat in got.loops.beats) for kind in ("ring", "key", "value")}
    cocotb.log.info("beats %s, traversals %s, jobs %s", coverage, len(got.loops.traversals), len(got.loops.jobs))
    windows = [f for f in (decode(issue["word"])[1] for issue in issues) if f.get("window")]
    assert len(windows) > 5 and {f["src_wide"] for f in windows} == {0, 1}
    assert {bool(f["width"] % CFG.tm) for f in windows} == {False, True}
    assert {f["edges"] >> side & 1 | side << 1 for f in windows for side in range(4)} == set(range(8))
    packed = {(f["packed"], bool(f["window"]), f["src_wide"]) for f in (decode(issue["word"])[1] for issue in issues)
              if "packed" in f}
    assert len(packed) == 8, f"of packed or not, window or not, wide or not only {packed}"
    assert min(coverage.values()) > 100 and got.loops.traversals and len(got.loops.jobs) > 4, "too thin a stimulus"


@cocotb.test()
async def programs_match_under_stalls(dut):
    rng = seeded("stalls")
    await start(dut)
    for n, manners in enumerate((
            Manners(issue=half, operand=half, context=half, traversal=half, entry=half, job=half, ring_rate=0.4,
                    ring_start=0, release=(1, 60), done=(0, 150), multipliers=(0, 100)),
            Manners(issue=bursts(), operand=bursts(), context=bursts(), entry=bursts(), ring_rate=0.05, ring_start=0,
                    release=(1, 8), done=(0, 5)),
            Manners(release=(80, 120), done=(200, 300), context=bursts()))):
        tb = Testbench(CFG, 10 + n)
        got = await run(dut, random_program(rng, tb, 10), manners, tb, salt=str(n))
        cocotb.log.info("%s", got.counts)
        await reset(dut)
        window = [random_window(CFG, rng, window=rows) for rows in (1, 2)]
        await run(dut, window, manners, tb, salt=f"windows{n}")
        await reset(dut)


@cocotb.test()
async def gate_keeps_its_weights_for_all_groups(dut):
    """Token groups outside, tiles inside, wide operands: each group's rows and all weights are read again and again."""
    await start(dut)
    slices = min(8, CFG.ring_rows // (3 * CFG.steps))
    issues = [linear(tokens=tokens, tiles=tiles, slices=slices, src_row=7, src_stride=5, src_plane=2, src_wide=1,
                     dst=Dest.GATE) for tokens, tiles in ((2 * CFG.tm + 1, 3), (1, 2), (CFG.tm, 1))]
    got = await run(dut, issues, Manners(ring_start=CFG.ring_rows // 2, ring_rate=0.2))
    assert got.releases == [tiles * slices * CFG.steps for tiles in (3, 2, 1)]


@cocotb.test()
async def retained_weights_are_reused(dut):
    """Retained weights are read from the ring as often as they are reused, in any order, and leave it with the first
    LINEAR that does not retain them; what was not used up stays."""
    await start(dut)
    rng, most = seeded("held"), CFG.ring_rows // CFG.steps
    for n, manners in enumerate((Manners(), Manners(ring_start=0, ring_rate=0.3, release=(1, 60), issue=half))):
        issues, held = [], []  # slices of the ring and tiles of each LINEAR whose weights are retained, oldest first
        for _ in range(45):
            begin = [sum(s * t for s, t in held[:i]) for i in range(len(held) + 1)]
            shape = {"src_stride": 3, "src_wide": rng.getrandbits(1), "tokens": rng.randint(0, 2 * CFG.tm + 1),
                     "src_plane": 2, "dst": rng.choice([Dest.OPERAND8, Dest.RESIDUAL, Dest.GATE])}
            hold, packed = int(rng.random() < 0.8), rng.getrandbits(1)
            if held and rng.random() < 0.6:
                i = rng.randrange(len(held))
                slices, tiles = held[i]
                issues.append(linear(**shape, slices=slices << packed, tiles=tiles, packed=packed, reuse_weights=1,
                                     reuse_offset=begin[i],
                                     retain_weights=hold, block=rng.randrange(MAX_BLOCK)))
                held = held if hold else held[i + 1:]
            else:
                slices, tiles = rng.randint(1, 3), rng.randint(1, 3)
                hold = int(hold and begin[-1] + 2 * slices * tiles <= most)
                if not hold and begin[-1] + slices * tiles > most:
                    continue
                block = rng.randrange(MAX_BLOCK)
                if begin[-1] + slices * tiles > most:
                    block = 0
                issues.append(linear(**shape, slices=slices << packed, tiles=tiles, packed=packed,
                                     retain_weights=hold, block=block))
                held = [*held, (slices, tiles)] if hold else []
        got = await run(dut, issues, manners, Testbench(CFG, 40 + n), salt=f"held{n}")
        words = [decode(issue["word"])[1] for issue in issues]
        assert sum(f["reuse_weights"] and f["retain_weights"] for f in words) > 3
        assert sum(f["reuse_weights"] > f["retain_weights"] for f in words) > 1
        assert len(got.releases) == len(got.loops.releases)
        await reset(dut)


@cocotb.test()
async def works_after_a_reset_in_mid_stream(dut):
    rng = seeded("reset")
    await start(dut)
    for cut in (30, 117, 333):
        tb = Testbench(CFG, cut)
        broken = Neighbours(dut, tb, random_program(rng, tb, 4), Manners())
        for _ in range(cut):
            await cocotb.triggers.FallingEdge(dut.clk)
        broken.stop()
        for source in (broken.issue, broken.entry, broken.multipliers, broken.done):
            source.idle()
        await reset(dut)
        tb = Testbench(CFG, cut + 1)
        await run(dut, random_program(rng, tb, 3), tb=tb)


@cocotb.test()
async def key_and_value_bytes_do_not_grow_with_lanes(dut):
    """Edge-MoE's reordering: one step row a cycle for all lanes, and K and V are read once for each tm queries."""
    await start(dut)
    queries, keys, heads, head_slices = 16, 64, 2, 4
    issue = {"word": encode(Opcode.ATTENTION, heads=heads, head_slices=head_slices, queries=queries, keys=keys,
                            q_stride=1, key_pitch=8)}
    got = await run(dut, [issue], Manners(release=(2, 2), done=(0, 0)))
    groups = ceil_div(queries, CFG.tm)
    assert got.weight_reads["key"] == heads * groups * keys // TN * head_slices * CFG.steps
    assert got.weight_reads["value"] == heads * groups * head_slices // 2 * keys // 16 * CFG.steps
    cycles = [sum(beat["kind"] == kind for beat in got.loops.beats) for kind in ("key", "value")]
    assert [got.weight_reads["key"], got.weight_reads["value"]] == cycles, "More than one row was read for a beat."
    cocotb.log.info("tm %s: %s bytes a cycle from K, %s from V", CFG.tm, CFG.row_bytes, CFG.row_bytes)
