# SPDX-License-Identifier: Apache-2.0
"""Verb ``run`` with task heads: arrays by name, a sheet, a drive as an animation; refusals before the work."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from golden.model.int_heads import picture as enlarged
from golden.model.random_int_model import random_int_model
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO

CONFIG = replace(NANO, patch=16, image_height=32, image_width=64, tasks=("semseg", "depth"), task_heads=(
    HeadConfig("semseg", "semseg", 3, 64, ("road", "sky", "car")), HeadConfig("depth", "depth", 1, 64)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A quantized nano model with two heads, and a drive of three pictures."""
    folder = tmp_path_factory.mktemp("run")
    random_int_model(CONFIG, seed=3).save(folder / "model.safetensors")
    (folder / "drive").mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        Picture.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)).save(folder / "drive" / f"{number}.png")
    return folder


def test_a_picture_gives_named_maps_and_a_sheet(files, tmp_path, edge_moe):
    code, out, _ = edge_moe("run", files / "model.safetensors", files / "drive" / "0.png", "--machine", "nano",
                            "--json", "-o", tmp_path / "all.npz", "--save-picture", tmp_path / "sheet.png")
    facts = json.loads(out)
    assert code == 0 and facts["task"] == "semseg+depth" and facts["maps"] == "semseg 32 x 64, depth 32 x 64"
    model = random_int_model(CONFIG, seed=3)
    pixels = np.asarray(Picture.open(files / "drive" / "0.png"))
    with np.load(tmp_path / "all.npz") as arrays:
        assert set(arrays) == {"semseg", "depth", "features"} and arrays["features"].shape == (2, CONFIG.tokens, 64)
        for task, plan in zip(CONFIG.tasks, model.plan.task_heads, strict=True):
            scores = enlarged(model.maps(model.run(pixels, task), task)[task], plan)
            wanted = scores.argmax(0) if task == "semseg" else scores[0]
            np.testing.assert_array_equal(arrays[task], wanted)
    assert Picture.open(tmp_path / "sheet.png").size[0] > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.npz", "sheet.png"]


def test_a_drive_becomes_an_animation(files, tmp_path, edge_moe):
    code, out, _ = edge_moe("run", files / "model.safetensors", files / "drive", "--machine", "nano", "--json",
                        "-o", tmp_path / "drive.gif")
    assert code == 0 and json.loads(out)["pictures"] == 3
    with Picture.open(tmp_path / "drive.gif") as found:
        assert found.n_frames == 3 and found.size == (3 * 64, 32)


def test_what_cannot_be_written_is_refused_before_the_work(files, tmp_path, edge_moe):
    model, drive = files / "model.safetensors", files / "drive"

    def refused(*arguments):
        code, _, err = edge_moe("run", model, *arguments, "--machine", "nano")
        assert code == 2 and err.count("\n") == 1
        return err

    assert "There is no folder" in refused(drive / "0.png", "-o", tmp_path / "no" / "a.npy")
    assert "is the input" in refused(drive / "0.png", "--save-picture", drive / "0.png")
    assert "one picture" in refused(drive, "--save-picture", tmp_path / "a.png")
    assert ".npy, .npz, .gif" in refused(drive, "-o", tmp_path / "a.txt")
    assert "of one picture -o writes .npy or .npz; --save-picture draws it" in refused(
        drive / "0.png", "-o", tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())
