# SPDX-License-Identifier: Apache-2.0
"""Top-k: any number of experts and choices, ties, neighbouring 40-bit logits; pace without gaps between tokens."""

import cocotb
import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.machine import LANES
from hw.moe.top_k import EXPERT_BITS, LOGIT, LOGIT_ROW, TILE_BITS, TopK
from sim.payload import pack
from sim.runner import run_bench
from sim.streams import Hang, cycles, half, never, reset, seeded, start

COUNT_BITS = 4
SLOTS = 8
LIMIT = (1 << LOGIT.width - 1) - 1
TILES = 1 << TILE_BITS


class WithRows(wiring.Component):
    """The unit with the memory of rows that it reads, as the gate has it."""

    def __init__(self):
        super().__init__({
            "experts": In(7), "top_k": In(4), "row": In(LOGIT_ROW), "address": In(range(SLOTS * TILES)), "write": In(1),
            "loaded": In(COUNT_BITS), "current": Out(COUNT_BITS), "o_valid": Out(1), "o_expert": Out(EXPERT_BITS),
            "o_last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        unit = m.submodules.unit = TopK(COUNT_BITS)
        store = m.submodules.store = memory.Memory(shape=LOGIT_ROW, depth=SLOTS * TILES, init=[])
        write, read, known = store.write_port(), store.read_port(), Signal(COUNT_BITS)
        m.d.sync += known.eq(self.loaded)
        m.d.comb += [
            write.addr.eq(self.address), write.data.eq(self.row), write.en.eq(self.write),
            read.addr.eq(Cat(unit.tile, unit.token[:COUNT_BITS - 1])), unit.row.eq(read.data),
            unit.pending.eq(known != unit.current), unit.experts.eq(self.experts), unit.top_k.eq(self.top_k),
            self.current.eq(unit.current), self.o_valid.eq(unit.o_valid), self.o_expert.eq(unit.o_expert),
            self.o_last.eq(unit.o_last),
        ]
        return m


def test_top_k():
    run_bench(WithRows(), module=__name__)


async def check(dut, logits: np.ndarray, top_k: int, *, stall=never) -> list[int]:
    """Choices of all tokens of ``logits`` [N, E] against a stable sort; the cycle of each token's last choice."""
    tokens, experts = logits.shape
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :top_k].tolist()
    rng, found, times, choice = seeded("noise"), [], [], []
    dut.experts.value, dut.top_k.value = experts, top_k
    await cycles(dut, 3)
    base = int(dut.current.value)
    assert int(dut.loaded.value) == base

    async def load():
        for token, row in enumerate(logits.tolist()):
            while token - len(found) >= SLOTS - 1 or stall(rng):
                await FallingEdge(dut.clk)
            row = row + [rng.randrange(-LIMIT, LIMIT) for _ in range(-experts % LANES)]
            for tile in range(len(row) // LANES):
                dut.write.value, dut.address.value = 1, (base + token) % SLOTS * TILES + tile
                dut.row.value = pack(LOGIT_ROW, row[tile * LANES:(tile + 1) * LANES])
                await FallingEdge(dut.clk)
            dut.write.value, dut.loaded.value = 0, (base + token + 1) % (2 * SLOTS)

    task = cocotb.start_soon(load())
    try:
        for cycle in range(200 * tokens + 100):
            await RisingEdge(dut.clk)
            if int(dut.o_valid.value):
                choice.append(int(dut.o_expert.value))
                if int(dut.o_last.value):
                    n = len(found)
                    assert choice == expected[n], f"token {n} of {experts}: {choice}, expected {expected[n]}"
                    found.append(choice)
                    times.append(cycle)
                    choice = []
            if len(found) == tokens:
                break
        else:
            raise Hang(f"{len(found)} of {tokens} tokens came.")
    finally:
        task.cancel()
    await cycles(dut, 8)
    assert not int(dut.o_valid.value)
    return times


async def begin(dut):
    dut.write.value = dut.loaded.value = dut.address.value = dut.row.value = 0
    dut.experts.value = dut.top_k.value = 1
    await start(dut)


def draw(gen, kind: str, tokens: int, experts: int) -> np.ndarray:
    if kind == "full":
        return gen.integers(-LIMIT - 1, LIMIT + 1, (tokens, experts))
    if kind == "ties":
        return gen.integers(-1, 2, (tokens, experts)) * (1 << 30)
    if kind == "near":  # differ in the last bits, around 0 and around powers of two
        return gen.choice([0, 1 << 20, -(1 << 33), LIMIT - 4], (tokens, 1)) + gen.integers(-3, 4, (tokens, experts))
    return np.repeat(gen.choice([-LIMIT - 1, LIMIT, 0], (tokens, 1)), experts, axis=1)


@cocotb.test()
async def chooses_as_a_stable_sort(dut):
    """All counts of experts, every k, four kinds of logits; the coverage wants ties among the chosen."""
    await begin(dut)
    gen, ties = np.random.default_rng(cocotb.RANDOM_SEED), 0
    for n, experts in enumerate([*range(1, 65), 16, 16, 16, 64, 64, 32, 48]):
        logits = draw(gen, ("full", "ties", "near", "equal")[n % 4], 6, experts)
        ties += sum(len(set(row)) < len(row) for row in logits.tolist())
        await check(dut, logits, min(experts, n % 8 + 1))
    assert ties > 150


@cocotb.test()
async def chooses_when_tokens_come_late(dut):
    await begin(dut)
    gen = np.random.default_rng(cocotb.RANDOM_SEED)
    for experts, top_k in ((16, 2), (64, 8), (20, 1), (3, 3)):
        for kind in ("full", "near"):
            await check(dut, draw(gen, kind, 20, experts), top_k, stall=half)


@cocotb.test()
async def keeps_its_pace(dut):
    """``top_k * (T + 2)`` cycles a token, the next one without a gap."""
    await begin(dut)
    gen = np.random.default_rng(cocotb.RANDOM_SEED)
    for experts, top_k in ((16, 2), (16, 8), (17, 2), (64, 2), (5, 1)):
        times = await check(dut, draw(gen, "full", 20, experts), top_k)
        pace = top_k * (-(-experts // LANES) + 2)
        assert set(np.diff(times).tolist()) == {pace}, f"{experts} experts, top {top_k}: {np.diff(times)}"


@cocotb.test()
async def starts_clean_after_reset(dut):
    await begin(dut)
    gen = np.random.default_rng(cocotb.RANDOM_SEED)
    for cut in (6, 9, 15):
        task = cocotb.start_soon(check(dut, draw(gen, "full", 20, 40), 5))
        await cycles(dut, cut)
        task.cancel()
        await cycles(dut, 1)  # lets it stop driving
        dut.write.value = dut.loaded.value = 0
        await reset(dut)
        await cycles(dut, 2)
        await check(dut, draw(gen, "full", 5, 16), 2)
        dut.loaded.value = 0
        await reset(dut)
