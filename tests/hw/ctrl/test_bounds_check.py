# SPDX-License-Identifier: Apache-2.0
"""Bounds checker: refuses what golden/spec/legality refuses, just inside and just outside of every limit."""

from collections import Counter
from dataclasses import replace

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from golden.iss.bounds_check import meet
from golden.spec.isa import FORMATS, LIMITS, Dest, Opcode, bounds, decode
from golden.spec.legality import ProgramState, Resource, after, capacity, contradictions, derived, ranges
from golden.spec.machine import NANO
from golden.spec.tiling import SLICES_PER_ROW
from hw.ctrl.bounds_check import BoundsChecker
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support.programs import NO_WINDOW, PLAIN, TAME, random_word, window

pytestmark = pytest.mark.rtl
OPCODES = (*PLAIN, Opcode.LINEAR, Opcode.LINEAR, Opcode.GATE, Opcode.EXPERTS, Opcode.UPSAMPLE, Opcode.KEEP)
WORDS = 20_000
ROWS = ("row", "src_row", "dst_row", "q_row", "normalized_row", "score_row", "key_tile", "value_tile")


def test_bounds_check():
    run_bench(BoundsChecker(NANO), module=__name__)


class Model:
    """The rules of golden/spec/legality in integers: the verdict on one instruction, and the program state after it."""

    def __init__(self):
        self.state, self.seen = ProgramState(), Counter()

    def check(self, word: int, body: int) -> tuple[bool, bool]:
        """(contradiction, beyond)."""
        opcode, f = decode(word)
        f, state = f | derived(opcode, f), replace(self.state, body=body)
        wrong = [bool(condition) for condition in contradictions(opcode, f, state)]
        self.seen.update((opcode, n) for n, condition in enumerate(wrong) if condition)
        used = [r for r in ranges(opcode, f, state) if r.when]
        for r in used:
            beyond = r.end - capacity(NANO, r.resource)
            self.seen.update([(r.resource, "in" if beyond <= 0 else "out")])
            self.seen.update([(r.resource, beyond)] if 0 <= beyond <= 1 else [])
        pair = {r.slot: r for r in used if r.slot < 2}
        met = len(pair) == 2 and meet(pair[0], pair[1])
        if len(pair) == 2 and pair[0].resource == pair[1].resource:
            gap = max(pair[0].base - pair[1].end, pair[1].base - pair[0].end)
            self.seen.update([(opcode, "apart" if gap >= 0 else "met")] + [(opcode, gap)] * (-1 <= gap <= 0))
        if f.get("window") and not any(wrong):
            self.seen.update(("window", f["edges"] >> side & 1, side) for side in range(4))
            self.seen.update([("window", "wide")] * f["src_wide"])
        self.seen.update([(opcode, "far")] * (f.get("strip_last", 0) > 0xFFFF))
        self.seen.update("furthest" for r in used if r.end >= 1 << 24 and r.end % (1 << 24) < 400)
        self.state = after(opcode, f, state)
        return any(wrong) or met, any(r.end > capacity(NANO, r.resource) for r in used)


def draw(rng, opcode: Opcode, state: ProgramState) -> int:
    """A legal instruction: near the borders, wild, or one that the gate waits for."""
    limits, fields, wild = LIMITS.get(opcode, {}), {}, rng.random() < 0.3
    for field in FORMATS[opcode].fields[1:]:
        low, high = limits.get(field.name, (0, field.high))
        if field.name in TAME and not wild and rng.random() < 0.8:
            low, high = low, max(low, min(high, TAME[field.name][1]))
        fields[field.name] = rng.randint(low, high)
    near = rng.randint(-3, 3)
    for name in ROWS[:6]:
        if name in fields and rng.random() < 0.5:
            fields[name] = max(0, rng.choice([NANO.operand_rows, NANO.residual_rows, NANO.kv_tiles])
                               - rng.choice([1, 2, 4, 40]) + near)
    most = rng.choice([NANO.ring_lines // 8, 2 * NANO.lane_rows * SLICES_PER_ROW])
    for name, border in (("keys", NANO.max_keys), ("slices", min(most << fields.get("packed", 0), 508))):
        if name in fields and rng.random() < 0.4:
            fields[name] = border + near
    if opcode is Opcode.GATE:
        fields |= {"tokens": rng.choice([1, 7, 40, 128, 2000, 4095]), "top_k": rng.choice([1, 2, 3, 8]),
                   "experts": rng.choice([1, 2, 16, 17, 64]), "append": rng.random() < 0.7}
    if opcode is Opcode.LINEAR and rng.random() < 0.3:
        fields |= {"dst": Dest.GATE, "tokens": max(0, state.left + rng.choice([0, 0, 0, 1, -1])) % 4096,
                   "tiles": -(-state.experts // 16) or 1, "src_index": 0, "dst_index": 0, "gate_weight": 0}
    if opcode is Opcode.LINEAR and rng.random() < 0.9:
        fields["packed"] &= ~fields["slices"]
    if opcode is Opcode.LINEAR and rng.random() < 0.5:
        fields |= {"reuse_weights": int(rng.random() < 0.5 and state.held > 0),
                   "retain_weights": int(rng.random() < 0.6)}
        back = state.held - fields["tiles"] * (fields["slices"] >> fields["packed"]) + rng.choice([0, 0, 0, 1, -1])
        fields["reuse_offset"] = min(max(back, 0), bounds(opcode, "reuse_offset")[1])
    if opcode is Opcode.LINEAR:
        fields |= draw_window(rng, fields) if rng.random() < 0.4 else NO_WINDOW
        fields |= {rng.choice(list(NO_WINDOW)): 1} if rng.random() < 0.02 else {}
    if opcode is Opcode.UPSAMPLE and not wild:
        fields["rows"] = rng.randint(1, 4)
    if opcode is Opcode.ATTENTION:
        fields |= rng.choice([{"class_scores": 0}, {"class_scores": 0}, {"queries": 1}, {}])
    if opcode is Opcode.KEEP:
        fields["tokens"] = rng.choice([fields["tokens"], fields["keep"], NANO.max_keys + near])
        fields["blocks"] = fields["blocks"] if wild else rng.randint(1, 4)
    if rng.random() < 0.2:
        fields |= rng.choice([adjacent, full])(rng, opcode, fields, state)
    return random_word(rng, opcode, **fields)


def draw_window(rng, fields: dict[str, int]) -> dict[str, int]:
    """A convolution, in most cases one without a contradiction; ``fields`` may be those of any LINEAR."""
    sizes = {"width": rng.randint(1, 6), "lines": rng.randint(1, 4), "pitch": rng.randint(0, 8)} if (
        rng.random() < 0.7) else {name: fields[name] for name in ("width", "lines", "pitch")}
    found = sizes | window(rng.choice([1, 1, 2, 3, 14]), sizes)
    for name, most in (("tokens", 4095), ("slices", 511)):
        found[name] = min(most, max(1, found[name] + rng.choice([0] * 12 + [1, -1])))
    found |= {"tokens": 0} if rng.random() < 0.03 else {}
    found |= {"src_index": fields["src_index"]} if rng.random() < 0.05 else {}
    if rng.random() < 0.03:  # a last row of 2**24 and a little, whose lower bits are those of a row that there is
        sizes = {"width": rng.choice([12, 13]), "lines": 64, "pitch": 1012}
        found |= sizes | window(1, sizes) | {"edges": 0, "src_stride": 255, "src_row": rng.randint(0, 60)}
    elif rng.random() < 0.7:
        found["src_stride"] = rng.randint(0, 4)
    return found


def adjacent(rng, opcode: Opcode, fields: dict[str, int], state: ProgramState) -> dict[str, int]:
    """Fields that let what is written begin where what is read ends, or one row earlier."""
    name = "row" if opcode is Opcode.KEEP else "dst_row"
    used = ranges(opcode, fields | derived(opcode, fields), state)
    pair = {r.slot: r for r in used if r.when and r.slot < 2}
    if name not in fields or len(pair) < 2 or pair[0].resource != pair[1].resource:
        return {}
    moved = fields[name] + pair[0].end - pair[1].base - rng.randint(0, 1)
    return {name: moved} if 0 <= moved < 1 << 16 else {}


def full(rng, opcode: Opcode, fields: dict[str, int], state: ProgramState) -> dict[str, int]:
    """Fields that let a range end where its memory does, or one row later."""
    used = [r for r in ranges(opcode, fields | derived(opcode, fields), state) if r.when]
    names = [name for name in ROWS if name in fields]
    if not used or not names:
        return {}
    chosen, name = rng.choice(used), rng.choice(names)
    moved = fields[name] + capacity(NANO, chosen.resource) - chosen.end + rng.randint(0, 1)
    return {name: moved} if 0 <= moved <= bounds(opcode, name)[1] else {}


@cocotb.test()
async def agrees_with_the_rules_in_integers(dut):
    await start(dut)
    rng, model, due = seeded("bounds"), Model(), {}
    verdicts = Counter()
    for cycle in range(2 * WORDS + BoundsChecker.LATENCY + 1):
        dut.valid.value = int(cycle % 2 == 0 and cycle < 2 * WORDS)
        dut.word.value = rng.getrandbits(256)
        if cycle % 2 == 0 and cycle < 2 * WORDS:
            state, body = model.state, int(rng.random() < 0.3)
            if state.left < 0 or state.slots > 4095:  # refused before: what the gate knows now means nothing
                word = random_word(rng, Opcode.GATE, tokens=5, first_token=3, experts=16, top_k=2, append=0)
            else:
                word = draw(rng, rng.choice(OPCODES), state)
            refused = not 0 <= state.held <= 2 * capacity(NANO, Resource.RING)  # so does what is retained
            if refused:
                word = random_word(rng, Opcode.LINEAR, dst=Dest.RESIDUAL, retain_weights=0, reuse_weights=0)
            dut.word.value = word
            verdict = model.check(word, body)
            opcode, f = decode(word)
            nothing = opcode is Opcode.LINEAR and f["window"] and not f["lines"] * f["width"]  # contradicts itself
            if not refused:
                due[cycle + BoundsChecker.LATENCY] = verdict, word, nothing
        else:
            dut.body.value = body
        if cycle in due:
            expected, checked, nothing = due.pop(cycle)
            got = bool(int(dut.contradiction.value)), bool(int(dut.beyond.value))
            if nothing:  # then ``beyond`` means nothing
                got, expected = got[:1], expected[:1]
            assert got == expected, (cycle, decode(checked), got, expected)
            verdicts[got] += 1
        await FallingEdge(dut.clk)
    assert min(verdicts[kind] for kind in ((False, False), (False, True), (True, False))) > WORDS // 20, verdicts
    seen = model.seen
    for resource in Resource:
        assert seen[resource, "in"] > 5 and seen[resource, "out"] > 5, (resource, seen)
        assert seen[resource, 0] and seen[resource, 1], f"{resource.name}: never exactly full, or one beyond"
    for opcode in (Opcode.COPY, Opcode.NORM, Opcode.LINEAR, Opcode.ATTENTION, Opcode.UPSAMPLE, Opcode.KEEP):
        assert all(seen[opcode, gap] for gap in ("apart", "met", -1, 0)), (opcode, seen)
    for opcode in (Opcode.LINEAR, Opcode.UPSAMPLE):
        assert seen[opcode, "far"] > 20, seen  # positions of the strip that take more than 16 bits
    assert seen["furthest"] > 10, seen
    assert all(seen["window", there, side] > 50 for there in (0, 1) for side in range(4)) and seen["window", "wide"]
    for opcode, count in ((Opcode.NORM, 2), (Opcode.LINEAR, 13), (Opcode.ATTENTION, 3), (Opcode.GATE, 4),
                          (Opcode.EXPERTS, 2), (Opcode.KEEP, 2)):
        assert all(seen[opcode, n] for n in range(count)), (opcode, seen)
