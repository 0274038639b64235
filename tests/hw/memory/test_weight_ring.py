# SPDX-License-Identifier: Apache-2.0
"""Weight ring: stream beats become rows in order, the level never lies, released rows make room; full, empty, reset."""

import dataclasses
import os

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.machine import LINE, NANO, SMALL
from hw.memory.weight_ring import WeightRing
from sim.runner import run_bench
from sim.streams import reset, seeded, start

CONFIGS = {"nano": dataclasses.replace(NANO, ring_lines=64), "small": dataclasses.replace(SMALL, ring_lines=64),
           "wide": dataclasses.replace(NANO, tk=16, ring_lines=64),
           "odd": dataclasses.replace(NANO, tk=16, ring_lines=96),
           "two_lines": dataclasses.replace(NANO, tk=16, ports=4, port_bytes=32, ring_lines=96),
           "row_a_beat": dataclasses.replace(NANO, ports=4, port_bytes=32, ring_lines=64)}
CFG = CONFIGS[os.environ.get("RING_CFG", "nano")]
BEAT_BYTES = CFG.beat_lines * LINE
ROW_BEATS = CFG.row_bytes // BEAT_BYTES


@pytest.mark.parametrize("config", list(CONFIGS))
def test_weight_ring(config):
    run_bench(WeightRing(CONFIGS[config]), module=__name__, name=f"weight_ring-{config}", env={"RING_CFG": config})


class Model:
    """Drives all ports once a cycle and predicts level and data. ``push``, ``pull``, ``read``: probabilities."""

    def __init__(self, dut, salt: str = ""):
        self.dut, self.rng = dut, seeded(salt)
        self.beats, self.rows, self.tail, self.levels, self.reads = [], 0, 0, [], []
        self.coverage = {"full": 0, "empty": 0, "read": 0, "released": 0, "taken": 0}
        dut.i__valid.value = dut.ring_en.value = dut.ring_release_en.value = 0

    def row(self, number: int) -> int:
        beats = self.beats[number * ROW_BEATS:(number + 1) * ROW_BEATS]
        return sum(beat << 8 * BEAT_BYTES * n for n, beat in enumerate(beats))

    async def cycle(self, push: float, pull: float, read: float) -> None:
        dut, rng = self.dut, self.rng
        level = int(dut.ring_level.value)
        beat, valid = rng.getrandbits(8 * BEAT_BYTES), int(rng.random() < push)
        dut.i__valid.value, dut.i__payload.value = valid, beat
        reading = int(level > 0 and rng.random() < read)
        offset = rng.randrange(level) if level else rng.randrange(CFG.ring_rows)
        dut.ring_en.value, dut.ring_row.value = reading, offset
        releasing = int(level > 0 and rng.random() < pull)
        amount = rng.randint(1, min(level, 5)) if level else 0
        if rng.random() < 0.1:
            amount = level
        dut.ring_release_en.value, dut.ring_release.value = releasing, amount
        await RisingEdge(dut.clk)
        taken = valid and int(dut.i__ready.value)
        await FallingEdge(dut.clk)
        # What was asked a cycle ago shows now.
        expected, self.reads = self.reads, [self.row(self.tail + offset)] if reading else []
        for want in expected:
            assert int(dut.ring_data.value) == want, "A row differs from the beats that were sent."
        before = self.rows
        if taken:
            self.beats.append(beat)
            self.rows = len(self.beats) // ROW_BEATS
        if releasing:
            self.tail += amount
        # A row counts WRITE_LATENCY after its last beat: the rows known one cycle ago.
        assert int(dut.ring_level.value) == before - self.tail, (
            f"The level is {int(dut.ring_level.value)}, expected {before - self.tail}.")
        assert self.rows - self.tail <= CFG.ring_rows, "A beat was accepted into a full ring."
        self.coverage["full"] += bool(valid and not taken)
        self.coverage["empty"] += before == self.tail
        self.coverage["read"] += reading
        self.coverage["released"] += releasing * amount
        self.coverage["taken"] += bool(taken)


@cocotb.test()
async def keeps_rows_in_order(dut):
    model = Model(dut)
    await start(dut)
    for push, pull, read in ((1, 0.0, 1), (1, 0.3, 0.5), (0.3, 0.5, 1), (1, 1, 1), (0.5, 0.02, 0.9), (0, 0.3, 1)):
        for _ in range(600):
            await model.cycle(push, pull, read)
    cocotb.log.info("coverage %s", model.coverage)
    assert min(model.coverage.values()) > 50, model.coverage


@cocotb.test()
async def fills_at_one_beat_a_cycle(dut):
    model = Model(dut)
    await start(dut)
    for _ in range(CFG.ring_rows * ROW_BEATS):
        await model.cycle(1, 0, 0)
    assert model.coverage["taken"] == CFG.ring_rows * ROW_BEATS and not model.coverage["full"]
    await model.cycle(1, 0, 0)
    assert model.coverage["full"] == 1 and int(dut.ring_level.value) == CFG.ring_rows
    await model.cycle(0, 0, 1)
    assert len(model.reads) == 1


@cocotb.test()
async def forgets_everything_on_reset(dut):
    model = Model(dut)
    await start(dut)
    for _ in range(50 + ROW_BEATS // 2):
        await model.cycle(1, 0.1, 0.5)
    dut.i__valid.value = dut.ring_en.value = dut.ring_release_en.value = 0
    await reset(dut)
    model = Model(dut, "after")
    for _ in range(300):
        await model.cycle(0.9, 0.2, 1)
