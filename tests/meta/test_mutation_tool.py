# SPDX-License-Identifier: Apache-2.0
"""The mutation tool itself: what it draws is small and legal, a good bench finds it, an equal netlist is set apart."""

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sim.mutants import __main__ as tool
from sim.mutants import trial
from sim.mutants.equivalence import proved_equal
from sim.mutants.sites import KINDS, Mutant, draw, mutants
from sim.mutants.trial import Outcome, run
from sim.mutants.units import ROOT, UNITS

QUEUE = ROOT / "hw" / "lib" / "queue.py"


def mutant_of(path: Path, old: str, new: str) -> Mutant:
    """One that replaces the first ``old``."""
    start = path.read_text().index(old)
    return Mutant(".".join(path.relative_to(ROOT).with_suffix("").parts), "operator", start, start + len(old), new)


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_has_sources_benches_and_mutants_of_most_kinds(unit):
    assert UNITS[unit].files() and all((ROOT / bench).exists() for bench in UNITS[unit].bench_files())
    drawn = draw(unit, 1)
    assert len(drawn) > 150 and len({mutant.kind for mutant in drawn}) >= 7
    assert drawn[:30] == draw(unit, 1)[:30] != draw(unit, 2)[:30], "the seed decides, and nothing else"


def test_all_kinds_are_drawn_and_each_changes_the_program():
    found = {mutant.kind for unit in UNITS for mutant in draw(unit, 3)[:40]}
    assert found == set(KINDS)
    for mutant in draw("epilogue", 5)[:60]:
        before, after = ast.parse(mutant.path.read_text()), ast.parse(mutant.source())
        assert ast.dump(before) != ast.dump(after), mutant.diff()
        assert len(mutant.diff().splitlines()) <= 12, mutant.diff()


def test_refusals_constructors_and_texts_stay():
    lines = {mutant.path.read_text()[:mutant.start].count("\n") + 1 for mutant in mutants(QUEUE)}
    text = QUEUE.read_text()
    kept = {node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Raise)}
    constructor = next(node for node in ast.walk(ast.parse(text))
                       if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    assert lines and not lines & kept and not lines & set(range(constructor.lineno, constructor.end_lineno + 1))


def test_every_explained_survivor_is_one_of_the_source():
    for (module, old, new), why in tool.explained().items():
        path = ROOT / Path(*module.split(".")).with_suffix(".py")
        assert (old, new) in {mutant.lines() for mutant in mutants(path)}, f"{module} has no mutant {old!r} -> {new!r}."
        assert len(why) > 20, f"{old!r} -> {new!r} needs a reason."


def test_the_score_counts_what_a_bench_could_find():
    mutant = mutants(QUEUE)[0]
    results = ["killed", "killed", "hung", "survived", "survived", "equal", "proved", "stillborn"]
    outcomes = [Outcome("u", mutant, result, "", 1.0) for result in results]
    assert tool.score(outcomes, {}) == (3, 5)
    assert tool.score(outcomes, {(mutant.module, *mutant.lines()): "why"}) == (3, 3)


@pytest.mark.rtl
def test_equal_netlists_are_proved_and_others_are_not(tmp_path):
    ports = "module dut(input clk, input rst, input [3:0] a, b, output reg [3:0] q);\n"
    body = "always @(posedge clk) if (rst) q <= 0; else q <= {};\nendmodule\n"
    paths = {}
    for name, value in (("old", "a + b"), ("same", "b + a"), ("other", "a - b"), ("kept", "q + (a + b)")):
        paths[name] = tmp_path / f"{name}.v"
        paths[name].write_text(ports + body.format(value))
    assert proved_equal(paths["old"], paths["same"], 120)
    assert not proved_equal(paths["old"], paths["other"], 120) and not proved_equal(paths["old"], paths["kept"], 120)


@pytest.mark.rtl
@pytest.mark.slow
def test_a_trial_tells_found_equal_and_stillborn_mutants_apart(monkeypatch, tmp_path):
    """On the queue, whose benches take seconds: a lost word is found, a constant is equal, a bad call is nothing."""
    monkeypatch.setattr(trial, "FOLDER", tmp_path)
    benches = replace(UNITS["array"], sources=("lib/queue.py",), benches=("lib/test_queue",))
    monkeypatch.setitem(UNITS, "array", benches)
    text = QUEUE.read_text()
    cases = {"killed": ("skid_full.eq(1)", "skid_full.eq(0)"), "equal": ("LATENCY = ", "LATENCY = 0 + "),
             "stillborn": ("m = Module()", "m = Module(1, 2, 3)")}
    for result, (old, new) in cases.items():
        assert old in text, f"{QUEUE.name} has no {old!r} any more."
        outcome = run("array", mutant_of(QUEUE, old, new))
        assert outcome.result == result, (outcome.result, outcome.why)
    assert not list(tmp_path.glob("trial-*")), "a trial leaves nothing"


def test_a_list_of_mutants_needs_no_run(capsys):
    assert tool.main(["--unit", "sequencer", "--count", "3", "--list"]) == 0
    assert capsys.readouterr().out.count("hw/ctrl/") == 3
    with pytest.raises(SystemExit):
        tool.main(["--unit", "nothing"])


def test_outcomes_are_kept_while_they_come(monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "FOLDER", tmp_path)
    monkeypatch.setattr(trial, "run", lambda unit, mutant, limit: Outcome(unit, mutant, "killed", "a bench", 1.0))
    assert tool.main(["--unit", "sequencer", "--count", "2", "--seed", "9"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "sequencer-9.jsonl").read_text().splitlines()]
    assert [line["result"] for line in lines] == ["killed", "killed"]
    monkeypatch.setattr(trial, "run", lambda unit, mutant, limit: Outcome(unit, mutant, "survived", "", 1.0))
    assert tool.main(["--unit", "sequencer", "--count", "2"]) == 1


def test_units_go_to_processes_of_their_own():
    """None is tried: what is told is whether workers find their work."""
    done = subprocess.run([sys.executable, "-m", "sim.mutants", "--unit", "norm", "--unit", "gate", "--count", "0",
                           "--workers", "2"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
