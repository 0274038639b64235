# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures: what they may hold, how labels and depth are read, refusals in sentences."""

import json

import numpy as np
import pytest
from skimage.io import imsave

from host.datasets import FolderError, open_folder


@pytest.fixture
def folder(tmp_path):
    """Two pictures of 4 x 6 pixels with labels 0..2 and 11."""
    for kind in ("image", "label"):
        (tmp_path / kind).mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        imsave(tmp_path / "image" / f"{name}.png", rng.integers(0, 256, (4, 6, 3), np.uint8), check_contrast=False)
        label = np.full((4, 6), 11, np.uint8)
        label[:3, :2] = [[0, 1], [2, 0], [1, 1]]
        imsave(tmp_path / "label" / f"{name}.png", label, check_contrast=False)
    return tmp_path


def test_ignored_label_becomes_255(folder):
    sample = open_folder(folder, classes=3, ignore=11).read(1)
    assert sample.name == "b" and sample.image.shape == (4, 6, 3) and sample.depth is None
    assert sample.label[:3, :2].tolist() == [[0, 1], [2, 0], [1, 1]] and (sample.label[3] == 255).all()


def test_classes_are_counted_where_nothing_tells(folder):
    assert open_folder(folder, ignore=11).classes == ("class 0", "class 1", "class 2")
    assert len(open_folder(folder).classes) == 12
    assert len(set(open_folder(folder).colours)) == 12


def test_description(folder):
    about = {"classes": ["sky", "road", "tree"], "colours": [[1, 2, 3]] * 3, "ignore": 11, "depth_scale": 0.5}
    (folder / "dataset.json").write_text(json.dumps(about))
    found = open_folder(folder)
    assert found.classes == ("sky", "road", "tree") and found.colours == ((1, 2, 3),) * 3 and found.ignore == 11
    assert open_folder(folder, classes=5).colours != found.colours
    (folder / "depth").mkdir()
    for name in ("a", "b"):
        imsave(folder / "depth" / f"{name}.png", np.full((4, 6), 300, np.uint16), check_contrast=False)
    assert (open_folder(folder).read(0).depth == 150).all()


def test_pictures_without_maps(folder):
    for path in (folder / "label").iterdir():
        path.unlink()
    (folder / "label").rmdir()
    found = open_folder(folder)
    assert not found.has_labels and found.classes == () and found.read(0).label is None


@pytest.mark.parametrize("change, words", [
    (lambda f: (f / "label" / "b.png").unlink(), "cannot be read|can be read"),
    (lambda f: imsave(f / "label" / "b.png", np.zeros((4, 5), np.uint8), check_contrast=False), "4 x 6 pixels"),
    (lambda f: imsave(f / "label" / "b.png", np.zeros((4, 6, 3), np.uint8), check_contrast=False), "one whole number"),
    (lambda f: imsave(f / "label" / "b.png", np.full((4, 6), 7, np.uint8), check_contrast=False), "label 7 is none of"),
])
def test_wrong_maps_are_refused(folder, change, words):
    change(folder)
    with pytest.raises(FolderError, match=words):
        open_folder(folder, classes=3, ignore=11).read(1)


@pytest.mark.parametrize("text", ["{", "[1]", '{"classes": 3}', '{"ignore": "none"}'])
def test_wrong_descriptions_are_refused(folder, text):
    (folder / "dataset.json").write_text(text)
    with pytest.raises(FolderError, match=r"dataset.json"):
        open_folder(folder)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FolderError, match="folder image"):
        open_folder(tmp_path)
