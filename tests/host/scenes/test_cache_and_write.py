# SPDX-License-Identifier: Apache-2.0
"""Scenes on disk: chunks for training, folders of pictures; both survive interruption and give the scenes back."""

import itertools
import json

import numpy as np
import pytest

from host.datasets.folder import open_folder
from host.scenes import cache, scene, write
from host.scenes.classes import CLASSES, DEPTH_STEP


@pytest.fixture
def counted(monkeypatch):
    """Number of scenes rendered so far, in a list."""
    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return scene(*arguments)
    monkeypatch.setattr(cache, "scene", counting)
    monkeypatch.setattr(write, "scene", counting)
    monkeypatch.setattr(cache, "CHUNK", 2)
    return calls


def test_chunks_hold_the_scenes(tmp_path, counted):
    seen = []
    chunks = cache.cached(tmp_path, 3, 4, 32, 64, workers=1, report=lambda done, total, _: seen.append((done, total)))
    assert len(chunks) == 2 and seen == [(2, 3), (3, 3)]
    for number in range(4):
        pixels, depth = (np.load(path)[number % 2] for path in chunks[number // 2])
        wanted = scene(number, 4, 32, 64)
        assert np.array_equal(pixels[..., :3], wanted.image) and np.array_equal(pixels[..., 3], wanted.label)
        assert np.array_equal(depth * np.float32(DEPTH_STEP), wanted.depth)


def test_only_missing_chunks_are_rendered(tmp_path, counted):
    first, second = cache.cached(tmp_path, 4, 0, 32, 64, workers=1)
    second[1].unlink()
    cache.cached(tmp_path, 4, 0, 32, 64, workers=1)
    assert len(counted) == 6


def test_folder_comes_back(tmp_path, counted):
    assert write.write_scenes(tmp_path, 3, 9, 32, 64, first=5, workers=1) == 3
    folder = open_folder(tmp_path)
    assert folder.classes == tuple(c.name for c in CLASSES) and folder.colours == tuple(c.colour for c in CLASSES)
    assert folder.has_labels and folder.has_depth and len(folder) == 3
    for place in range(3):
        sample, wanted = folder.read(place), scene(5 + place, 9, 32, 64)
        assert np.array_equal(sample.image, wanted.image) and np.array_equal(sample.label, wanted.label)
        assert np.array_equal(sample.depth, wanted.depth)
    assert write.write_scenes(tmp_path, 3, 9, 32, 64, first=5, workers=1) == 0


def test_a_drive_goes_along_the_road(tmp_path, counted):
    assert write.write_scenes(tmp_path, 3, 9, 32, 64, first=5, drive=True, workers=1) == 3
    folder = open_folder(tmp_path)
    samples = [folder.read(place) for place in range(3)]
    assert np.array_equal(samples[0].image, scene(5, 9, 32, 64).image)
    assert [call[-1] for call in counted] == [0, write.METRES, 2 * write.METRES]
    for before, after in itertools.pairwise(samples):
        change = np.abs(before.depth - after.depth)
        assert np.median(change[-1]) < 0.1 < 0.2 < change.max()  # the road in front of the camera stays as far


def test_interrupted_folder_is_completed(tmp_path, counted, monkeypatch):
    monkeypatch.setattr(write, "scene", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write.write_scenes(tmp_path, 2, 0, 32, 64, workers=1)
    assert not (tmp_path / "dataset.json").exists()
    monkeypatch.setattr(write, "scene", scene)
    assert write.write_scenes(tmp_path, 2, 0, 32, 64, workers=1) == 2
    assert json.loads((tmp_path / "dataset.json").read_text())["ignore"] == 255
    assert not list(tmp_path.rglob(".*"))
