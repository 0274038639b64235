# SPDX-License-Identifier: Apache-2.0
"""The ablation: experts token by token compute the same, an idea is never better off, tables and picture."""

import json
from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec.isa import Opcode, decode, stream_lines
from golden.spec.machine import LINE, NANO, ZCU102
from golden.spec.model import MODELS
from host.driver.result import same
from host.driver.session import Session
from host.explore.area import Area, units
from host.performance.ablation import Idea, dram_bytes
from host.performance.timeline import predict
from sim import lockstep
from sim.ablation.area import difference, separate_engines
from sim.ablation.pictures import save_bars
from sim.ablation.programs import first_task, long_machine, program
from sim.ablation.rows import AREA, MODEL, PAPER_MS, RTL, SAME, Measured, alone, cumulative
from sim.bench.cases import moved_bytes
from sim.board.settings import IDEAL
from sim.device import SimDevice, dram_model

EXPERT_LINES = 2 * 2 * (6 + 4 * 8)
"""Of an expert of nano: fc1 and fc2 have two tiles, each with 6 lines of parameters and 4 slices of 8 lines."""


@pytest.fixture(scope="module")
def model():
    return first_task(random_int_model(MODELS["nano"], seed=1))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(7).integers(0, 256, (32, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def programs(model, pixels):
    machine = replace(long_machine(NANO), program_depth=512)
    return {False: program(model, NANO, pixels, False), True: program(model, machine, pixels, True)}


def moved_for_experts(found):
    """Bytes of the stream that EXPERTS bodies use, counted instruction by instruction."""
    words, total = found.image.words(found.task), 0
    loops = [index for index, word in enumerate(words) if decode(word)[0] is Opcode.EXPERTS]
    for index, arrivals in zip(loops, found.arrivals, strict=True):
        body = [decode(word) for word in words[index + 1:index + 1 + decode(words[index])[1]["body"]]]
        total += len(arrivals) * sum(stream_lines(opcode, fields, NANO).lines for opcode, fields in body) * LINE
    return total


def test_token_by_token_computes_the_same(programs, pixels):
    results = [Session(found.image, GoldenDevice(found.image.machine)).frame(pixels, found.task)
               for found in programs.values()]
    assert same(*results)


def test_token_by_token_reads_experts_for_each_token(programs, model):
    tokens, top_k = model.config.tokens, model.config.top_k
    one, other = programs[False], programs[True]
    assert len(one.arrivals) == 1 and len(other.arrivals) == tokens == 33
    assert moved_for_experts(one) == len(one.arrivals[0]) * EXPERT_LINES * LINE
    assert moved_for_experts(other) == tokens * top_k * EXPERT_LINES * LINE
    ideal = dram_model(IDEAL, NANO)
    assert other.predict(ideal, frozenset()).bytes > moved_for_experts(other) + one.predict(
        ideal, frozenset()).bytes - moved_for_experts(one)


def test_no_idea_is_better_off_and_each_step_gains(programs):
    dram = dram_model(IDEAL, NANO)
    rows, steps = alone(programs, dram, {}), cumulative(programs, dram, {})
    assert rows[0].cycles == predict(programs[False].image, "task0", programs[False].arrivals, dram)[-1].end
    assert all(row.cycles >= rows[0].cycles and row.bytes >= rows[0].bytes for row in rows)
    assert [row.name for row in rows[1:]] == [idea.value for idea in Idea for _ in
                                              range(1 + (idea is Idea.UNIFIED_LINEAR))]
    cycles = [step.cycles for step in steps]
    assert cycles == sorted(cycles, reverse=True) and cycles[-1] == rows[0].cycles
    assert [step.paper_ms for step in steps] == list(PAPER_MS)
    assert {row.source for row in rows} == {MODEL, f"{MODEL}, {AREA}", f"{SAME}, {AREA}"}


def test_rows_say_where_they_come_from(programs):
    """What was measured replaces the prediction, in both tables."""
    measured = {False: Measured(10_000, 5), True: Measured(90_000, 6)}
    dram = dram_model(IDEAL, NANO)
    rows, steps = alone(programs, dram, measured), cumulative(programs, dram, measured)
    assert [(row.cycles, row.bytes) for row in rows if row.source == RTL] == [(10_000, 5), (90_000, 6)]
    assert steps[-1].cycles == 10_000 and steps[-1].source == RTL
    assert {step.source for step in steps[:-1]} == {MODEL}


def test_area_by_hand():
    """Wide GELU: 8 pairs of lanes, each 65,536 codes of 16 bits in 32 blocks. Two passes: 1,024 rows of scores of
    320 bits in 9 blocks, not of 265 bits in 7.5. Six engines: five more arrays."""
    assert difference(Idea.LOW_COST_GELU, ZCU102) == Area(bram36=8 * 32)
    assert difference(Idea.SINGLE_PASS, ZCU102).bram36 == pytest.approx(9 - 7.5)
    assert separate_engines(ZCU102, 6).dsp == 5 * units(ZCU102)["array"].dsp
    assert difference(Idea.EXPERT_BY_EXPERT, ZCU102) == Area()
    saved = units(ZCU102)["key"] + units(ZCU102)["value"]
    assert difference(Idea.ATTENTION_REORDERING, ZCU102).bram36 == -saved.bram36 < 0


def test_picture_and_json(programs, tmp_path):
    dram = dram_model(IDEAL, NANO)
    rows, steps = alone(programs, dram, {}), cumulative(programs, dram, {})
    save_bars(rows, steps, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 10_000
    assert json.dumps([vars(step) for step in steps])


@pytest.mark.rtl
def test_bytes_of_the_model_are_those_of_the_machine(programs, pixels):
    found, device = programs[False], SimDevice(NANO, dram_bytes=8 << 20)
    try:
        compared = lockstep.run(found.image, device, pixels, found.task, found.task, dram=IDEAL)
    finally:
        device.close()
    spans = predict(found.image, found.task, found.arrivals, dram_model(IDEAL, NANO))
    predicted = dram_bytes(NANO, found.image.words(found.task), spans, frozenset())
    assert moved_bytes(compared.machine.counters, NANO) == pytest.approx(predicted, rel=0.01)
