# SPDX-License-Identifier: Apache-2.0
"""Reach: the gateware's judgement of every instruction equals the integers', just inside and just outside."""

from collections import Counter
from dataclasses import replace

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from golden.spec.isa import FORMATS, LIMITS, Dest, Opcode, decode
from golden.spec.machine import NANO
from golden.spec.reach import Routing, Store, behind, contradictions, depth, derived, spans
from golden.spec.tiling import SLICES_PER_ROW
from hw.ctrl.reach import ReachChecker
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.programs import PLAIN, TAME, random_word

pytestmark = pytest.mark.rtl
OPCODES = (*PLAIN, Opcode.LINEAR, Opcode.LINEAR, Opcode.GATE, Opcode.EXPERTS)
WORDS = 6000


def test_reach():
    run_bench(ReachChecker(NANO), module=__name__)


class Model:
    """The integers: what becomes of one instruction, and what the gate knows behind it."""

    def __init__(self):
        self.routing, self.census = Routing(), Counter()

    def judge(self, word: int, body: int) -> tuple[bool, bool]:
        """(contradiction, beyond)."""
        opcode, f = decode(word)
        f, routing = f | derived(opcode, f), replace(self.routing, body=body)
        wrong = [bool(condition) for condition in contradictions(opcode, f, routing)]
        self.census.update((opcode, n) for n, condition in enumerate(wrong) if condition)
        beyond = False
        for span in spans(opcode, f, routing):
            end, size = span.base + span.steps * span.stride + span.count, depth(NANO, span.store)
            if span.when:
                beyond |= end > size
                self.census.update([(span.store, "in" if end <= size else "out")])
                self.census.update([(span.store, end - size)] if 0 <= end - size <= 1 else [])
        self.routing = behind(opcode, f, routing)
        return any(wrong), beyond


def draw(rng, opcode: Opcode, routing: Routing) -> int:
    """A legal instruction: near the borders, wild, or one that the gate waits for."""
    limits, fields, wild = LIMITS.get(opcode, {}), {}, rng.random() < 0.3
    for field in FORMATS[opcode].fields[1:]:
        low, high = limits.get(field.name, (0, field.high))
        if field.name in TAME and not wild and rng.random() < 0.8:
            low, high = low, max(low, min(high, TAME[field.name][1]))
        fields[field.name] = rng.randint(low, high)
    near = rng.randint(-3, 3)
    for name in ("row", "src_row", "dst_row", "q_row", "xhat_row"):
        if name in fields and rng.random() < 0.5:
            fields[name] = max(0, rng.choice([NANO.operand_rows, NANO.residual_rows, NANO.kv_tiles])
                               - rng.choice([1, 2, 4, 40]) + near)
    most = rng.choice([NANO.ring_lines // 8, 2 * NANO.lane_rows * SLICES_PER_ROW])
    for name, border in (("keys", NANO.max_keys), ("slices", most)):
        if name in fields and rng.random() < 0.4:
            fields[name] = border + near
    if opcode is Opcode.GATE:
        fields |= {"tokens": rng.choice([1, 7, 40, 128, 2000, 4095]), "top_k": rng.randint(1, 3),
                   "experts": rng.choice([1, 2, 16, 17, 64]), "append": rng.random() < 0.7}
    if opcode is Opcode.LINEAR and rng.random() < 0.3:
        fields |= {"dst": Dest.GATE, "tokens": max(0, routing.left + rng.choice([0, 0, 0, 1, -1])) % 4096,
                   "tiles": -(-routing.experts // 16) or 1, "src_index": 0, "dst_index": 0, "score": 0}
    if opcode is Opcode.LINEAR and rng.random() < 0.5:
        fields |= {"again": int(rng.random() < 0.5 and routing.held > 0), "hold": int(rng.random() < 0.6)}
        back = routing.held - fields["tiles"] * fields["slices"] + rng.choice([0, 0, 0, 1, -1])
        fields["back"] = min(max(back, 0), next(f.high for f in FORMATS[opcode].fields if f.name == "back"))
    return random_word(rng, opcode, **fields)


@cocotb.test()
async def judges_as_integers_do(dut):
    await start(dut)
    rng, model, due = seeded("reach"), Model(), {}
    verdicts = Counter()
    for cycle in range(2 * WORDS + ReachChecker.LATENCY + 1):
        dut.valid.value = int(cycle % 2 == 0 and cycle < 2 * WORDS)
        dut.word.value = rng.getrandbits(256)
        if cycle % 2 == 0 and cycle < 2 * WORDS:
            routing, body = model.routing, int(rng.random() < 0.3)
            if routing.left < 0 or routing.slots > 4095:  # refused before: what the gate knows now means nothing
                word = random_word(rng, Opcode.GATE, tokens=5, first_token=3, experts=16, top_k=2, append=0)
            else:
                word = draw(rng, rng.choice(OPCODES), routing)
            refused = not 0 <= routing.held <= 2 * depth(NANO, Store.RING)  # so does what is held
            if refused:
                word = random_word(rng, Opcode.LINEAR, dst=Dest.RESIDUAL, hold=0, again=0)
            dut.word.value = word
            verdict = model.judge(word, body)
            if not refused:
                due[cycle + ReachChecker.LATENCY] = verdict, word
        else:
            dut.body.value = body
        if cycle in due:
            expected, judged = due.pop(cycle)
            got = bool(int(dut.contradiction.value)), bool(int(dut.beyond.value))
            assert got == expected, (cycle, decode(judged), got, expected)
            verdicts[got] += 1
        await FallingEdge(dut.clk)
    assert min(verdicts[kind] for kind in ((False, False), (False, True), (True, False))) > WORDS // 20, verdicts
    census = model.census
    for store in Store:
        assert census[store, "in"] > 5 and census[store, "out"] > 5, (store, census)
        assert census[store, 0] and census[store, 1], f"{store.name}: never exactly full, or one beyond"
    for opcode, count in ((Opcode.COPY, 1), (Opcode.LINEAR, 8), (Opcode.ATTENTION, 1), (Opcode.GATE, 3),
                          (Opcode.EXPERTS, 2)):
        assert all(census[opcode, n] for n in range(count)), (opcode, census)
