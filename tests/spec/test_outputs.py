# SPDX-License-Identifier: Apache-2.0
"""Outputs of programs: their places, what is refused, and that a map comes back from any tiles."""

from dataclasses import replace

import numpy as np
import pytest

from golden.spec import model
from golden.spec.heads import HeadConfig
from golden.spec.program.outputs import Output, OutputBuffer, expected, from_json, problem, to_json
from golden.spec.quantized import HeadPlan, Plan
from host.driver.layout import read_output

CONFIG = replace(model.NANO, patch=16, image_height=32, image_width=48, classes=40, final_norm=True, extra_tokens=2,
                 task_heads=(HeadConfig("task1", "semseg", 33, 64),))
PLAN = replace(Plan.fast(2), task_heads=(HeadPlan(frac=5),))
BOTH = ("task0", "task1")


def test_outputs_follow_each_other():
    outputs = expected(CONFIG, PLAN, BOTH)
    assert [(o.name, o.task) for o in outputs] == [
        ("features", "task0"), ("logits", "task0"), ("features", "task1"), ("logits", "task1"), ("task1", "task1")]
    assert [o.lines for o in outputs] == [8 * 2, 2 * 2, 8 * 2, 2 * 2, 16 * 24 * 2]
    assert outputs[0].offset == 0 and all(a.end == b.offset for a, b in zip(outputs, outputs[1:], strict=False))
    assert outputs[-1].shape == (16, 24, 33) and outputs[-1].frac == 5 and outputs[-1].kind == "semseg"
    buffer = OutputBuffer(tuple(outputs), outputs[-1].end + 3)
    assert from_json(to_json(buffer)) == buffer and problem(buffer, CONFIG, PLAN, BOTH) is None


@pytest.mark.parametrize("change, words", [
    ({"tiles": (16, 25, 0)}, "tiles of output 'task1'"), ({"tiles": (0, 24, 0)}, "tiles"), ({"tiles": ()}, "tiles"),
    ({"tiles": (16, 24, 2)}, "tiles"), ({"frac": 9}, "frac 5"), ({"shape": (16, 24, 32)}, "16 x 24 x 33"),
    ({"kind": "depth"}, "semseg"), ({"name": "x"}, "task1"), ({"task": "task0"}, "of task1"), ({"offset": 0}, "line"),
])
def test_other_outputs_are_refused(change, words):
    *first, last = expected(CONFIG, PLAN, BOTH)
    wrong = problem(OutputBuffer((*first, replace(last, **change)), last.end), CONFIG, PLAN, BOTH)
    assert wrong and words in wrong


def test_missing_and_short_outputs_are_refused():
    outputs = tuple(expected(CONFIG, PLAN, BOTH))
    assert "must be" in problem(OutputBuffer(outputs[:-1], outputs[-1].end), CONFIG, PLAN, BOTH)
    assert "must be" in problem(OutputBuffer((*outputs, outputs[0]), outputs[-1].end), CONFIG, PLAN, BOTH)
    assert "take 808 lines" in problem(OutputBuffer(outputs, outputs[-1].end - 1), CONFIG, PLAN, BOTH)
    with pytest.raises(ValueError, match="must be a count of lines"):
        from_json({"lines": -1, "outputs": []})
    with pytest.raises(ValueError, match="lists of counts"):
        from_json({"lines": 1, "outputs": [to_json(OutputBuffer(outputs, 1))["outputs"][0] | {"shape": [1, "2"]}]})


@pytest.mark.parametrize("tiles", [(16, 24, 0), (4, 24, 0), (6, 10, 0), (6, 10, 1), (16, 7, 1), (1, 1, 1)])
def test_maps_come_back_from_their_tiles(tiles):
    output = Output("m", "semseg", "t", 3, (16, 24, 33), 9, tiles)
    wanted = np.random.default_rng(0).integers(-1 << 15, 1 << 15, output.shape).astype(np.int16)
    filled = np.pad(wanted, ((0, 0), (0, 0), (0, 31)))
    parts = [filled[y:y + tiles[0], x:x + tiles[1]].tobytes() for y, x in output.places]
    data = bytes(3 * 64) + b"".join(parts)
    assert len(data) == output.end * 64
    np.testing.assert_array_equal(read_output(data, output), wanted)
