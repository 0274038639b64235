# SPDX-License-Identifier: Apache-2.0
"""Lane buffer: every byte of every row comes out at its step, signed or not, with its block's exponent."""

import dataclasses
import os

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from golden.spec.machine import LINE, NANO, SLICE
from hw.array.lane_buffer import LaneBuffer
from hw.interfaces import LINE_BITS, OPERAND_BITS
from sim.runner import run_bench
from sim.streams import seeded, start

CONFIGS = {"nano": NANO, "wide": dataclasses.replace(NANO, tk=16, ring_lines=1024), "thin": dataclasses.replace(
    NANO, tk=2)}
CFG = CONFIGS[os.environ.get("LANE_CFG", "nano")]


@pytest.mark.parametrize("config", ["nano", "wide", "thin"])
def test_lane_buffer(config):
    run_bench(LaneBuffer(CONFIGS[config]), module=__name__, name=f"lane_buffer-{config}", env={"LANE_CFG": config})


def expected(row: tuple[bytes, tuple[int, int]], place: int, unsigned: int, present: int) -> tuple[int, int]:
    """Packed operands and exponent of step ``place`` (of LINE / tk)."""
    data, exps = row
    operands = [byte if unsigned or byte < 128 else byte - 256 for byte in data[place * CFG.tk:(place + 1) * CFG.tk]]
    bits = sum((v & (1 << OPERAND_BITS) - 1) << OPERAND_BITS * j for j, v in enumerate(operands)) if present else 0
    return bits, exps[place * CFG.tk // (LINE // 2)]


@cocotb.test()
async def reads_what_was_written_while_writing(dut):
    rng = seeded()
    dut.write_en.value = 0
    dut.en.value = 0
    await start(dut)
    rows, depth, waiting, coverage = {}, 2 * CFG.lane_rows, [], {"negative": 0, "large": 0, "absent": 0}
    for cycle in range(2500):
        # A read of any row written in an earlier cycle.
        if rows:
            row, place = rng.choice(list(rows)), rng.randrange(LINE // CFG.tk)
            unsigned, present = rng.getrandbits(1), int(rng.random() < 0.9)
            en = int(rng.random() < 0.8)
            dut.row.value, dut.quarter.value, dut.step.value = row, place * CFG.tk // SLICE, place % CFG.steps
            dut.unsigned.value, dut.present.value, dut.en.value = unsigned, present, en
            if en:
                waiting.append((cycle + LaneBuffer.LATENCY, expected(rows[row], place, unsigned, present)))
                bytes_ = rows[row][0][place * CFG.tk:(place + 1) * CFG.tk]
                coverage["negative"] += not unsigned and max(bytes_) > 127
                coverage["large"] += unsigned and max(bytes_) > 127
                coverage["absent"] += not present
        # A write to another row.
        target = rng.randrange(depth)
        write = int(rng.random() < 0.5 and (not rows or target != row))
        content = rng.randbytes(LINE), (rng.randrange(4), rng.randrange(4))
        dut.write_en.value, dut.write_row.value = write, target
        dut.write_data.value = int.from_bytes(content[0], "little") | content[1][0] << LINE_BITS | content[1][1] << (
            LINE_BITS + 2)
        await FallingEdge(dut.clk)
        if write:
            rows[target] = content
        if waiting and waiting[0][0] == cycle + 1:
            bits, exp = waiting.pop(0)[1]
            assert int(dut.o.value) == bits, f"Cycle {cycle}: operands {int(dut.o.value):x}, expected {bits:x}."
            if bits:
                assert int(dut.exp.value) == exp, f"Cycle {cycle}: exponent {int(dut.exp.value)}, expected {exp}."
    cocotb.log.info("coverage %s", coverage)
    assert min(coverage.values()) > 100 and len(rows) == depth
