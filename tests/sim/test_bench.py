# SPDX-License-Identifier: Apache-2.0
"""Benches of any model on any machine: thresholds, memories, kept figures, tables; no simulator is built."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from golden.device import GoldenDevice
from golden.files.machine_file import machine_of
from golden.spec.boards import BOARDS
from golden.spec.isa import Opcode
from golden.spec.machine import MACHINES, NANO, U280, ZCU102
from golden.spec.model import MODELS
from host.profile.run import profile
from host.report import comparison, measured
from sim.bench.__main__ import keep_runs, save_pictures
from sim.bench.cases import (
    ALL_TASKS,
    CASES,
    FAST,
    FAST_ON_BOARD,
    MOST_CYCLES,
    PACKED_ON_BOARD,
    USUAL,
    cases_of,
)
from sim.bench.model import Step
from sim.bench.networks import network
from sim.bench.predicted import HALF, main, predicted
from sim.bench.run import Run, figures
from tests.host.support.devices import compiled, picture

HALF_MACHINE = machine_of(str(HALF))


def found(cycles, case=FAST, predicted_cycles=None, exact=True, use=0.9, dram_ratio=1.0):
    """A run that took ``cycles`` a picture."""
    steps = [Step(Opcode.LINEAR, 0, -1, 1.0, 1.0, 1.0, 1.0)]
    return Run(case, {"CYCLES": cycles * case.pictures}, [], [], exact, 1000, use, 5000, dram_ratio, 2.5,
               predicted_cycles or cycles, steps, 1.0)


def test_half_of_u280_is_u280_with_half_of_its_clusters():
    assert HALF_MACHINE == replace(U280, name="u280-half", tm=8, clusters=2)
    assert HALF_MACHINE.macs_per_cycle == 4096


def test_memories_are_those_of_the_boards():
    assert FAST_ON_BOARD.dram(HALF_MACHINE) == FAST_ON_BOARD.dram(U280)
    assert FAST_ON_BOARD.dram(U280).bytes_per_cycle == pytest.approx(460e9 / 300e6)
    assert FAST_ON_BOARD.dram(MACHINES["kv260"]).bytes_per_cycle == BOARDS["kv260"].dram_bytes_per_cycle == 64
    assert FAST_ON_BOARD.dram(replace(ZCU102, name="found-7")) == FAST_ON_BOARD.dram(ZCU102)
    assert FAST.dram(ZCU102).bytes_per_cycle == FAST.dram(NANO).bytes_per_cycle == 64


def test_cases():
    assert cases_of("m3vit-tiny", "zcu102") == CASES
    assert cases_of("deit-tiny", "u280") == USUAL and cases_of("m3vit-tiny", "u280") == (*USUAL, PACKED_ON_BOARD)
    assert {model for model, _ in MOST_CYCLES} <= set(MODELS)
    assert {machine for _, machine in MOST_CYCLES} <= {*MACHINES, HALF_MACHINE.name}
    assert all(most in cases_of(*pair) for pair, musts in MOST_CYCLES.items() for most in musts)


@pytest.mark.parametrize("pair, case", [(pair, case) for pair, musts in MOST_CYCLES.items() for case in musts],
                         ids=lambda value: getattr(value, "name", " on ".join(value) if type(value) is tuple else ""))
def test_a_cycle_too_many_is_missed(pair, case):
    most = MOST_CYCLES[pair][case]
    assert all(met for *_, met in figures({case: found(most, case)}, *pair))
    missed = [figure for figure, *_, met in figures({case: found(most + 1, case)}, *pair) if not met]
    assert missed == [f"cycles a picture, {case.name}"]


def test_what_else_is_missed():
    def missed(**facts):
        return [figure for figure, *_, met in figures({FAST: found(1000, **facts)}, "deit-tiny", "kv260") if not met]

    assert not missed() and missed(exact=False) == ["bit-exact, fast, ideal DRAM"]
    assert missed(predicted_cycles=1031) == missed(predicted_cycles=969) == [
        "performance model against RTL, fast, ideal DRAM"]
    assert not missed(predicted_cycles=1029, use=0.1)
    reference = figures({FAST: found(1000, use=0.1, dram_ratio=2.0)}, "m3vit-tiny", "zcu102")
    assert [figure for figure, *_, met in reference if not met] == [
        "array use over the whole frame", "DRAM bytes over needed bytes"]
    both = figures({FAST: found(1000), ALL_TASKS: found(1701, ALL_TASKS)}, "m3vit-tiny", "zcu102")
    assert [figure for figure, *_, met in both if not met] == ["both tasks over one, cycles"]
    seeded = {FAST: found(1000), ALL_TASKS: found(1850, ALL_TASKS)}
    assert all(met for *_, met in figures(seeded, "m3vit-tiny", "zcu102", trained=False))


def test_seeded_networks_are_the_same_every_time():
    one, other = network("nano", 2), network("nano", 2)
    assert len(one.pixels) == 2 and (one.pixels[0] != one.pixels[1]).any()
    assert all((a == b).all() for a, b in zip(one.pixels, other.pixels, strict=True))
    tensors = one.quantized("fast").tensors
    assert all((tensors[name] == value).all() for name, value in other.quantized("fast").tensors.items())


def test_kept_figures_stand_in_the_table(tmp_path, monkeypatch):
    """A measured case replaces the predicted one; another stays; a later run keeps what it did not measure."""
    monkeypatch.setattr(measured, "KEPT", tmp_path)
    monkeypatch.setattr("sim.bench.__main__.commit", lambda: "1234567890")
    nano = predicted(MODELS["nano"], NANO)
    assert nano["cycles"][FAST_ON_BOARD.name] == pytest.approx(nano["cycles"][FAST.name], rel=0.1)
    measured.keep("predicted", {"cells": [nano, nano | {"machine": "small", "refusal": "too large"}]})
    predicted_row, = comparison.models_and_machines().splitlines()[2:]
    assert predicted_row.count(" model |") == 2 and "RTL" not in predicted_row
    keep_runs({FAST: found(9_876)}, MODELS["nano"], NANO, "seeded")
    row = comparison.models_and_machines().splitlines()[2]
    assert "| 9,876 RTL |" in row and row.count(" model |") == 1 and "| 2.5 |" in row
    keep_runs({FAST_ON_BOARD: found(12_345, FAST_ON_BOARD)}, MODELS["nano"], NANO, "seeded")
    row = comparison.models_and_machines().splitlines()[2]
    assert "| 9,876 RTL | 12,345 RTL |" in row and f"| {12_345 / 300e3:.3f} |" in row
    assert row.endswith("| `1234567890` |")


def test_pictures_of_a_run(tmp_path):
    """Those of a run whose times are the performance model's."""
    image = compiled()[1]
    with GoldenDevice(NANO) as device:
        shown = profile(image, device, picture(), "task0")
    run = replace(found(round(shown.cycles)), retired=shown.timed)
    run.counters |= {"ARRAY_BUSY": 9000, "ARRAY_WEIGHTS": 1, "ARRAY_OPERANDS": 2, "ARRAY_DRAIN": 3}
    save_pictures({FAST: run, FAST_ON_BOARD: run}, {"fast": image}, 300e6, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cycle-stack.svg", "experts.svg", "roofline.svg", "trace.json"]
    texts = {path.stem: "".join(ElementTree.parse(path).getroot().itertext()) for path in tmp_path.glob("*.svg")}
    assert FAST_ON_BOARD.name in texts["cycle-stack"] and "MoE FFN" in texts["roofline"]
    assert "blocks.1.ffn" in texts["experts"]


def test_a_model_that_does_not_fit_is_refused_in_the_table():
    assert "'small' holds 512" in predicted(MODELS["m3vit-tiny"], MACHINES["small"])["refusal"]


def test_published_rows_by_hand():
    """Huang: 1,254 million products in 4.077 ms at 300 MHz on 1,268 DSPs."""
    row = next(line for line in comparison.published().splitlines() if "4.077" in line)
    assert f"| {4.077 * 300e3:,.0f} |" in row and f"| {1254e6 / (4.077 * 300e3) / 1268:.2f} |" in row


@pytest.mark.slow
def test_the_command_predicts_every_cell(capsys):
    assert main(["--json"]) == 0
    printed = capsys.readouterr().out
    assert "m3vit-small" in printed and '"u280-half"' in printed


def test_differences_of_areas():
    assert [comparison.signed(value) for value in (0, -92.0, 1.5, 227_942.4, 256)] == [
        "", "-92", "+1.5", "+227,942", "+256"]
