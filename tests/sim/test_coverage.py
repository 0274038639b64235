# SPDX-License-Identifier: Apache-2.0
"""Tests of the coverage tool: what a run took is counted, what it did not is a hole, and classes name every program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

from golden.spec.isa import Opcode
from sim.coverage.__main__ import Hole, holes, page
from sim.coverage.functional import class_of, wanted
from sim.coverage.sources import Coverage, read
from tests.fuzz.profile import examples
from tests.fuzz.programs import finished, programs

ROOT = Path(__file__).parents[2]
QUEUE = read(ROOT / "hw" / "lib" / "queue.py")
TAKEN = {f"cover__lib__queue__{line}__{arm}": 3 for line, arm in QUEUE.branches}


def record(points: dict[str, int]) -> dict:
    return {"elaborated": ["lib/queue"], "points": points, "toggles": [10, 9], "run": "queue-2"}


def test_every_branch_taken_is_everything():
    coverage = Coverage.of([record(TAKEN)])
    assert holes([QUEUE], coverage, {}) == []
    assert page([QUEUE], coverage, [])[1:] == (100.0, 100.0)


def test_runs_add_up():
    first, *others = TAKEN
    parts = [record({first: 1}), record({name: 1 for name in others} | {first: 0})]
    assert holes([QUEUE], Coverage.of(parts), {}) == []


@pytest.mark.parametrize("branch", sorted(QUEUE.branches), ids=str)
def test_a_branch_that_no_run_took_is_a_hole_unless_waived(branch):
    line, arm = branch
    coverage = Coverage.of([record(TAKEN | {f"cover__lib__queue__{line}__{arm}": 0})])
    (hole,) = holes([QUEUE], coverage, {})
    assert (hole.file, hole.line, hole.arm, hole.waived) == ("lib/queue", line, arm, "")
    text, branches, _ = page([QUEUE], coverage, [hole])
    assert branches == pytest.approx(100 * (1 - 1 / len(QUEUE.branches)))
    assert f"* hw/lib/queue.py:{line}, {arm}" in text
    waived = holes([QUEUE], coverage, {("lib/queue", hole.code, arm): "why"})
    assert waived == [Hole("lib/queue", line, arm, hole.code, "why")]
    assert page([QUEUE], coverage, waived)[1:] == (100.0, 100.0)


@pytest.mark.rtl
@pytest.mark.slow
def test_a_run_with_holes_ends_with_status_1_and_names_them(tmp_path):
    """Queues of depth 3 take no branch of those of depth 2."""
    done = subprocess.run([sys.executable, "-m", "sim.coverage", "--unit", "lib/test_queue.py", "--out", str(tmp_path),
                           "-k", "test_queue[3]"], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"WORKERS": "1"})
    assert done.returncode == 1, done.stdout + done.stderr
    text = (tmp_path / "coverage.md").read_text()
    assert f"Branches 0.0 % (0 of {len(QUEUE.branches)})" in text
    assert all(f"* hw/lib/queue.py:{line}, {arm}" in text for line, arm in QUEUE.branches)


@given(programs())
@examples(200)
def test_every_instruction_of_a_random_program_has_a_class_of_the_list(found):
    known = set(wanted())
    assert {class_of(opcode, fields) for opcode, fields in finished(found)} <= known


def test_every_opcode_is_in_the_list():
    assert {name for name, _, _ in wanted()} == {opcode.name for opcode in Opcode}
