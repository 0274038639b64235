# SPDX-License-Identifier: Apache-2.0
"""Dumps of devices: the first tensor, token and channel that differs, and folders that are no dumps."""

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from golden.device import GoldenDevice
from golden.spec.machine import NANO
from host import driver
from host.diagnosis.difference import differences
from tests.host.support.commands import facts, refused
from tests.host.support.devices import CLASSIFIER, compiled, picture


class Wrong(GoldenDevice):
    """Value 70 of the output is wrong after each job: token 1, channel 6."""

    def _start(self):
        super()._start()
        self._dram.view(self._get("OUTPUT_ADDR"), 142)[140] ^= 4


@pytest.fixture
def dumped(edge_moe, tmp_path):
    """Dumps of the nano model: ``dumped(name)`` on golden, with other options of run; the folder."""
    (tmp_path / "nano.emoe").write_bytes(compiled()[1].to_bytes())
    for seed in (1, 2):
        Pillow.fromarray(picture(seed=seed)).save(tmp_path / f"{seed}.png")

    def dump(name, *options, model="nano.emoe", shown="1.png"):
        found = facts(edge_moe, "run", tmp_path / model, tmp_path / shown, "--dump", tmp_path / name, *options)
        assert found["dump"] == str(tmp_path / name)
        return tmp_path / name
    return dump


def test_equal_dumps_are_the_same(edge_moe, dumped):
    a, b = dumped("a"), dumped("b")
    status, out, err = edge_moe("compare", a, b)
    assert (status, err) == (0, "") and out.endswith("same: all 2 tensors, bit for bit\n")
    with np.load(a / "tensors.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["input"], picture(seed=1))
        np.testing.assert_array_equal(stored["features.task0"], compiled()[0].run(picture(seed=1), "task0"))
    assert json.loads((a / "about.json").read_text())["device"] == "golden:nano"


def test_the_first_value_that_differs_is_named(edge_moe, dumped, monkeypatch):
    a = dumped("a")
    monkeypatch.setattr(driver, "open_device", lambda name, **options: Wrong(NANO))
    b = dumped("b")
    status, out, err = edge_moe("compare", a, b)
    wanted = int(compiled()[0].run(picture(seed=1), "task0")[1, 6])
    assert status == 1 and f"features.task0 differs first at token 1, channel 6: {wanted} against {wanted ^ 4}; " \
        "1 of 2,112 values differ\n" in out
    status, out, err = edge_moe("compare", a, b, "--json")
    found = json.loads(out)
    assert status == 1 and not found["same"] and found["differences"][0]["place"] == {"token": 1, "channel": 6}


def test_other_pictures_are_noticed_first(edge_moe, dumped):
    status, out, _ = edge_moe("compare", dumped("a"), dumped("b", shown="2.png"))
    lines = out.splitlines()
    assert status == 1 and lines[1].startswith("input differs first at line 0, column 0, channel ")
    assert lines[-1] == "The pictures are not the same: dump both devices with one picture."


def test_a_folder_of_pictures_is_one_dump(edge_moe, dumped, tmp_path):
    (tmp_path / "drive").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / name).rename(tmp_path / "drive" / name)
    a = dumped("a", "--task", "task0+task1", shown="drive")
    found = json.loads((a / "about.json").read_text())
    assert found["pictures"] == ["1.png", "2.png"] and found["tensors"][:3] == [
        "0.input", "0.features.task0", "0.features.task1"]
    assert edge_moe("compare", a, a)[0] == 0


def test_scores_are_places_of_head_and_class(dumped, tmp_path):
    (tmp_path / "class.emoe").write_bytes(compiled(CLASSIFIER)[1].to_bytes())
    a = dumped("a", model="class.emoe")
    with np.load(a / "tensors.npz", allow_pickle=False) as stored:
        one, other = dict(stored), dict(stored)
    other["logits.default"] = one["logits.default"].copy()
    other["logits.default"][-1, 36] += 1
    found, = differences(one, other)
    assert found.place == {"head": len(one["logits.default"]) - 1, "class": 36}


def test_dumps_that_cannot_be_compared_are_refused(edge_moe, dumped, tmp_path):
    a, b = dumped("a"), dumped("b", "--task", "task1")
    assert "DumpError: The dumps are of the programs 'task0' and 'task1'" in refused(edge_moe, "compare", a, b)
    (tmp_path / "class.emoe").write_bytes(compiled(CLASSIFIER)[1].to_bytes())
    c = dumped("c", model="class.emoe")
    assert "are of the models 'nano' and 'classifier'" in refused(edge_moe, "compare", a, c)
    assert "is no dump: it lacks about.json or tensors.npz" in refused(edge_moe, "compare", a, tmp_path)
    refused(edge_moe, "compare", a, tmp_path / "nowhere")


@pytest.mark.parametrize("file, data", [
    ("about.json", b"{"), ("about.json", b"[]"), ("about.json", b"{}"), ("about.json", b"\xff\xfe"),
    ("about.json", b'{"format": 1, "tensors": 5}'), ("about.json", b"[" * 100_000),
    ("tensors.npz", b""), ("tensors.npz", b"PK\x03\x04 nonsense"), ("tensors.npz", b"\x93NUMPY")])
def test_damaged_dumps_are_refused(edge_moe, dumped, file, data):
    a, b = dumped("a"), dumped("b")
    (b / file).write_bytes(data)
    assert "DumpError: " in refused(edge_moe, "compare", a, b)


def test_tensors_of_other_names_or_shapes_are_refused(edge_moe, dumped):
    a, b = dumped("a"), dumped("b")
    found = json.loads((b / "about.json").read_text())
    (b / "about.json").write_text(json.dumps(found | {"tensors": ["input"]}))
    assert "UsageError: One side holds input, features.task0; the other input." in refused(edge_moe, "compare", a, b)
    with pytest.raises(ValueError, match="x is 2 x 3 on one side and 3 x 2 on the other"):
        differences({"x": np.zeros((2, 3))}, {"x": np.zeros((3, 2))})


def test_a_file_in_the_folders_place_is_refused(edge_moe, dumped, tmp_path):
    assert "--dump wants a folder; " in refused(edge_moe, "run", tmp_path / "nano.emoe", tmp_path / "1.png", "--dump",
                                                tmp_path / "2.png")
    assert "There is no folder " in refused(edge_moe, "run", tmp_path / "nano.emoe", tmp_path / "1.png", "--dump",
                                            tmp_path / "nowhere" / "dump")
