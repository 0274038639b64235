# SPDX-License-Identifier: Apache-2.0
"""Matrix array against its reference model: blocks, pixels, wide operands, gaps, drain stalls, credits, timing, DSP
count."""

import os
from dataclasses import dataclass, replace

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.ops.matmul import matmul
from golden.ops.operand import Operand
from golden.spec.latency import COLUMN
from golden.spec.machine import NANO, TN
from golden.spec.model import BLOCK
from golden.spec.status import Status
from hw.array.array import DRAIN_BANKS, MatrixArray, drain_beat
from hw.interfaces import array_beat
from sim.implementation.synth import design, flow
from sim.payload import pack
from sim.runner import run_bench
from sim.streams import Sink, bursts, cycles, half, never, reset, seeded, start, until

CONFIGS = {"nano": NANO, "2x16": replace(NANO, tk=16), "8x2": replace(NANO, tm=8, tk=2)}
CFG = CONFIGS[os.environ.get("ARRAY_CFG", "nano")]


@pytest.mark.rtl
@pytest.mark.parametrize("config", list(CONFIGS))
def test_array(config):
    run_bench(MatrixArray(CONFIGS[config]), module=__name__, name=f"array-{config}", env={"ARRAY_CFG": config})


@pytest.mark.slow
@pytest.mark.parametrize("tm, tk", [(2, 4), (4, 2), (2, 16)])
def test_products_and_their_column_share_dsp_blocks(tm, tk):
    """Synthesis of the whole array: one block for every two int8 products a cycle, with the registers of its inputs,
    product and sum, and its adder on the sum of the block before; adders of LUTs join columns and accumulate."""
    found = flow.multipliers(design.to_rtlil(MatrixArray(replace(NANO, tm=tm, tk=tk))))["cells"].values()
    blocks = [cell for cell in found if cell["type"].startswith("DSP48")]
    column, cells = min(COLUMN, tk), tm // 2 * TN
    assert len(blocks) == cells * tk
    registers = {tuple(int(block["parameters"][name], 2) for name in ("AREG", "BREG", "MREG", "PREG"))
                 for block in blocks}
    assert registers == {(2, 2, 1, 1)}
    joined = sum(any(isinstance(net, int) for net in block["connections"]["PCIN"]) for block in blocks)
    assert joined == cells * (tk - tk // column)
    adders = sum(cell["type"] in ("$add", "$alu", "$macc") for cell in found)
    assert adders <= cells * (2 * (tk // column - 1) + 3) + 3, "joining, a carry, accumulating; pointers of the drain"


@dataclass
class Tile:
    """Beats (payloads as dictionaries) of one tile and its accumulators [tm, 32]."""

    beats: list
    acc: np.ndarray


def random_tile(rng, steps: int = 0) -> Tile:
    """Blocks with exponents, pixels or wide operands; every fourth tile at the ends of its range."""
    kind, steps = rng.choice(("block", "block", "pixels", "wide")), steps or rng.randint(1, 2 * BLOCK // CFG.tk)
    inputs = steps * CFG.tk
    def make(low, high):
        return np.array([[rng.randint(low, high) for _ in range(inputs)] for _ in range(CFG.tm)])
    weight = np.array([[rng.randint(-127, 127) for _ in range(inputs)] for _ in range(TN)], np.int8)
    extreme = rng.random() < 0.25
    if extreme:  # every product of a group at the end of its range, both lanes of a pair in every combination
        weight = np.array([[rng.choice((-127, 127))] * inputs for _ in range(TN)], np.int8)
    def lanes(low, high):
        if extreme:
            return np.array([[rng.choice((low, high))] * inputs for _ in range(CFG.tm)])
        return make(low, high)
    if kind == "pixels":
        operand = Operand.pixels(lanes(0, 255).astype(np.uint8))
    elif kind == "wide":
        operand = Operand(lanes(-32768, 32767).astype(np.int16))
    else:
        exp = np.array([[rng.randint(0, 3) for _ in range(-(-inputs // BLOCK))] for _ in range(CFG.tm)], np.uint8)
        operand = Operand(lanes(-128, 127).astype(np.int8), exp)
    return tile_of(operand, weight, matmul(operand, weight))


def tile_of(operand: Operand, weight: np.ndarray, acc: np.ndarray) -> Tile:
    beats, steps = [], weight.shape[1] // CFG.tk
    planes = operand.planes() if operand.wide else (operand.bytes,)
    for number, plane in enumerate(planes):
        for step in range(steps):
            part = slice(step * CFG.tk, (step + 1) * CFG.tk)
            exp = [0] * CFG.tm if operand.wide else [int(e) for e in operand.exp[:, step * CFG.tk // BLOCK]]
            beats.append({
                "operand": plane[:, part].tolist(), "exp": exp, "weight": weight[:, part].tolist(),
                "first": int(number == 0 and step == 0), "shift8": int(number == 1 and step == 0),
                "last": int(number == len(planes) - 1 and step == steps - 1)})
    return Tile(beats, acc)


class Bench:
    """Sends beats as a control with DRAIN_BANKS credits would, at the very cycle in which a release shows."""

    def __init__(self, dut, *, stall=never):
        self.dut, self.rng = dut, seeded("array")
        self.sink = Sink(dut, "o", drain_beat(CFG), stall=stall)
        self.credits, self.sent, self.cycle, self.faults = DRAIN_BANKS, [], 0, 0
        self.task = cocotb.start_soon(self._count())
        dut.i__valid.value = 0

    async def _count(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.cycle += 1

    async def step(self) -> None:
        """To the middle of the next cycle, where this cycle's outputs can be read."""
        await FallingEdge(self.dut.clk)
        self.credits += int(self.dut.release.value)
        self.faults += int(self.dut.fault.value)

    async def send(self, tiles: list[Tile], gap=never) -> None:
        for tile in tiles:
            for beat in tile.beats:
                waited = 0
                while gap(self.rng) or (beat["last"] and self.credits == 0):
                    self.dut.i__valid.value = 0
                    await self.step()
                    waited += 1
                    assert waited < 5000, "no bank was released within 5000 cycles"
                self.credits -= beat["last"]
                self.dut.i__valid.value, self.dut.i__payload.value = 1, pack(array_beat(CFG), beat)
                self.sent.append((self.cycle, beat["last"]))
                await self.step()
        self.dut.i__valid.value = 0

    async def compare(self, tiles: list[Tile]) -> None:
        expected = [{"value": tile.acc[lane].tolist(), "lane": lane} for tile in tiles for lane in range(CFG.tm)]
        for _ in range(20_000):
            if len(self.sink.values) >= len(expected):
                break
            await self.step()
        assert len(self.sink.values) >= len(expected), f"only {len(self.sink.values)} of {len(expected)} beats came"
        got = self.sink.values[:len(expected)]
        for n, (g, e) in enumerate(zip(got, expected, strict=True)):
            assert g == e, f"beat {n} (tile {n // CFG.tm}):\n got      {g}\n expected {e}"
        for _ in range(40):
            await self.step()
        assert len(self.sink.values) == len(expected), "more beats came out than tiles went in"
        assert self.credits == DRAIN_BANKS and self.faults == 0 and int(self.dut.idle.value)

    def stop(self) -> None:
        self.task.cancel()
        self.sink.task.cancel()


@cocotb.test()
async def matches_golden(dut):
    await start(dut)
    rng = seeded("tiles")
    for stall, gap, count in ((never, never, 40), (half, half, 20), (bursts(), bursts(), 20)):
        tiles = [random_tile(rng) for _ in range(count)]
        acc = np.concatenate([tile.acc.ravel() for tile in tiles])
        print(f"coverage: {acc.size} accumulators, {np.mean(acc < 0):.2f} negative, largest {np.abs(acc).max()}")
        assert 0.3 < np.mean(acc < 0) < 0.7 and np.abs(acc).max() > 1 << 20
        bench = Bench(dut, stall=stall)
        await bench.send(tiles, gap)
        await bench.compare(tiles)
        bench.stop()


@cocotb.test()
async def accumulators_wrap(dut):
    """Wide operands at the ends of their range over more inputs than int32 holds."""
    await start(dut)
    gen = np.random.default_rng(seeded("wrap").getrandbits(64))
    operand = Operand(gen.choice([-32768, 32767], (CFG.tm, 1)).repeat(1040, 1).astype(np.int16))
    weight = gen.choice([-127, 127, 120], (TN, 1)).repeat(1040, 1).astype(np.int8)
    acc = matmul(operand, weight)
    assert (acc != operand.bytes.astype(np.int64) @ weight.T).all()
    bench = Bench(dut)
    await bench.send([tile_of(operand, weight, acc)])
    await bench.compare([tile_of(operand, weight, acc)])


@cocotb.test()
async def a_weight_may_be_minus_128(dut):
    """The compiler makes none, the reference model refuses it; packed products have room for it even so."""
    await start(dut)
    gen, tiles = np.random.default_rng(seeded("lowest").getrandbits(64)), []
    for _ in range(12):
        weight = gen.choice([-128, -128, -128, 127], (TN, 64)).astype(np.int8)
        operand = Operand.pixels(gen.choice([0, 255, 255, 255], (CFG.tm, 64)).astype(np.uint8))
        if gen.random() < 0.5:
            operand = Operand(gen.choice([-128, 127], (CFG.tm, 64)).astype(np.int8), np.zeros((CFG.tm, 2), np.uint8))
        tiles.append(tile_of(operand, weight, operand.values().astype(np.int64) @ weight.T))
    bench = Bench(dut)
    await bench.send(tiles)
    await bench.compare(tiles)


@cocotb.test()
async def latency_and_interval(dut):
    """Tiles of tm beats follow each other for ever without a gap; the first leaves after LATENCY cycles."""
    await start(dut)
    rng = seeded("timing")
    period = PACE
    bench = Bench(dut)
    tiles = []
    while len(tiles) < 12:
        tile = random_tile(rng, steps=period)
        if len(tile.beats) == period:
            tiles.append(tile)
    await bench.send(tiles)
    await bench.compare(tiles)
    assert [cycle for cycle, _ in bench.sent] == list(range(bench.sent[0][0], bench.sent[0][0] + 12 * period))
    lasts = [cycle for cycle, last in bench.sent if last]
    # The sink and the bench count cycles from the same moment.
    assert bench.sink.times[0] - lasts[0] == dut_latency()
    assert bench.sink.times[CFG.tm - 1] - bench.sink.times[0] == CFG.tm - 1


PACE = max(CFG.tm, -(-(MatrixArray(CFG).LATENCY + CFG.tm) // DRAIN_BANKS) + 1)


def dut_latency() -> int:
    return MatrixArray(CFG).LATENCY


@cocotb.test()
async def short_tiles_run_at_the_pace_of_the_drain(dut):
    """Tiles of one beat: the credits come back in time for max(tm, (LATENCY + tm) / DRAIN_BANKS) cycles a tile."""
    await start(dut)
    rng = seeded("short")
    tiles = [tile for tile in (random_tile(rng, steps=1) for _ in range(60)) if len(tile.beats) == 1]
    bench = Bench(dut)
    await bench.send(tiles)
    await bench.compare(tiles)
    pace = (bench.sent[-1][0] - bench.sent[0][0]) / (len(tiles) - 1)
    assert pace <= PACE, f"{pace:.2f} cycles a tile"


@cocotb.test()
async def a_tile_without_credit_is_a_fault(dut):
    await start(dut)
    rng = seeded("credit")
    dut.o__ready.value = 0
    dut.i__valid.value = 1
    beat = random_tile(rng, steps=1).beats[0] | {"first": 1, "last": 1}
    dut.i__payload.value = pack(array_beat(CFG), beat)
    await until(dut, lambda: int(dut.fault.value), 400, "a fault")
    assert int(dut.fault_code.value) == Status.INTERNAL
    dut.i__valid.value = 0
    await reset(dut)
    await cycles(dut, 2)
    assert not int(dut.fault.value) and not int(dut.o__valid.value)


@cocotb.test()
async def starts_afresh_after_a_reset(dut):
    await start(dut)
    rng = seeded("reset")
    bench = Bench(dut, stall=half)
    feed = cocotb.start_soon(bench.send([random_tile(rng) for _ in range(20)]))
    await cycles(dut, 60)
    feed.cancel()
    bench.stop()
    dut.i__valid.value = 0
    await reset(dut)
    tiles = [random_tile(rng) for _ in range(6)]
    bench = Bench(dut)
    await bench.send(tiles)
    await bench.compare(tiles)
