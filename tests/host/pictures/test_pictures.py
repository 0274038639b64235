# SPDX-License-Identifier: Apache-2.0
"""Result sheets and animations: right colours and numbers, whole files or none."""

import errno

import numpy as np
import pytest
from PIL import Image as Picture

from golden.spec.heads import HeadConfig, HeadError
from golden.spec.whole_file import write_whole
from host.pictures.animation import FILMS, AnimationError, frame, save_animation
from host.pictures.palette import class_names, colours, painted
from host.pictures.panels import Output
from host.pictures.reel import Reel
from host.pictures.sheet import pyplot, save_sheet
from host.sources.video import facts_of, frames_of

H, W = 32, 64
SEMSEG = HeadConfig("semseg", "semseg", 3, names=("road", "sky", "car"))
DEPTH, EDGE, NORMALS = (HeadConfig(kind, kind, maps) for kind, maps in (("depth", 1), ("edge", 1), ("normals", 3)))


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (H, W, 3), dtype=np.uint8)


def outputs(truth=True):
    rng = np.random.default_rng(2)
    classes, depth = rng.integers(0, 3, (H, W), dtype=np.uint8), rng.uniform(0, 80, (H, W))
    wrong = np.where(np.arange(H * W).reshape(H, W) % 4 == 0, (classes + 1) % 3, classes).astype(np.uint8)
    wrong[0] = 255
    far = depth + 3.0
    far[1] = 0
    return [Output(SEMSEG, classes, wrong if truth else None), Output(DEPTH, depth, far if truth else None),
            Output(EDGE, rng.uniform(0, 1, (H, W))), Output(NORMALS, rng.uniform(-1, 1, (H, W, 3)))]


def test_colours_differ_and_known_names_have_their_own():
    for names in (class_names(64), ("car", "vehicle", "CAR", "thing")):
        found = colours(names)
        assert found.dtype == np.uint8 and len(np.unique(found, axis=0)) == len(names)
    assert colours(("Road",)).tolist() == [[128, 64, 128]]
    assert (painted(np.array([[7, 255]]), ("road",)) == 0).all()


def test_a_head_names_all_its_classes_or_none():
    assert HeadConfig("a", "semseg", 2, names=["x", "y"]).names == ("x", "y")
    with pytest.raises(HeadError, match="needs a name for each of 2 classes"):
        HeadConfig("a", "semseg", 2, names=("x",))


@pytest.fixture
def titles(monkeypatch):
    """Titles of the panels of the sheet that is drawn."""
    seen = []
    close = pyplot.close
    monkeypatch.setattr(pyplot, "close", lambda figure: (seen.extend(
        axis.get_title() for axis in figure.axes if axis.get_title()), close(figure)))
    return seen


def test_a_sheet_shows_everything_there_is(picture, titles, tmp_path):
    load = {"semseg": {1: np.arange(8), 3: np.arange(8)[::-1]}}
    save_sheet(picture, outputs(), tmp_path / "sheet.png", load, "drive")
    assert titles == ["input", "semseg", "semseg over the input", "semseg: truth",
                      "semseg: 25.0 % of the pixels are wrong", "depth", "depth: truth",
                      "depth: root mean square error 3", "edge", "normals", "semseg: tokens of each expert"]
    assert Picture.open(tmp_path / "sheet.png").size[0] > 1000 and [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_scales_name_what_they_measure_and_depth_no_unit_that_the_model_does_not_tell(picture, monkeypatch, tmp_path):
    seen, close = [], pyplot.close
    monkeypatch.setattr(pyplot, "close", lambda figure: (seen.extend(
        axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()), close(figure)))
    save_sheet(picture, outputs(truth=False), tmp_path / "sheet.png")
    assert seen == ["depth, model units", "probability of an edge"]


def test_a_sheet_without_truth_and_of_one_channel(picture, titles, tmp_path):
    save_sheet(picture[..., :1], outputs(truth=False), tmp_path / "sheet.png")
    assert titles == ["input", "semseg", "semseg over the input", "depth", "edge", "normals"]


def test_an_older_file_survives_a_failure(tmp_path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"older")

    def breaks(part):
        part.write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_whole(path, breaks)
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


def test_frames_hold_the_results_side_by_side(picture):
    shown = frame(picture, outputs(), 80.0)
    assert shown.shape == (H, 5 * W, 3) and shown.dtype == np.uint8 and (shown[:, :W] == picture).all()
    assert (shown[:, W:2 * W] == painted(outputs()[0].values, SEMSEG.names)).all()


def test_an_animation_has_all_frames(picture, tmp_path):
    frames = [frame(np.roll(picture, n, 1), outputs(), 80.0) for n in range(5)]
    save_animation(frames, tmp_path / "drive.gif")
    with Picture.open(tmp_path / "drive.gif") as found:
        assert found.n_frames == 5 and found.size == (5 * W, H) and found.info["duration"] == 100


@pytest.mark.parametrize("suffix", FILMS)
def test_a_film_has_all_frames_at_its_rate(suffix, picture, tmp_path):
    frames = [frame(np.full_like(picture, 50 * n), outputs(), 80.0) for n in range(5)]
    path = tmp_path / f"drive{suffix}"
    save_animation(iter(frames), path, 29.97)
    assert facts_of(path).rate == pytest.approx(29.97, rel=2e-3)
    found = list(frames_of(path))
    assert [each.shape for each in found] == [(H, 5 * W, 3)] * 5 and list(tmp_path.iterdir()) == [path]
    for n, each in enumerate(found):
        assert abs(each[:, 8:W - 8].mean() - 50 * n) < 4


def test_a_film_that_fails_is_not_left_in_half(picture, tmp_path):
    def frames():
        yield frame(picture, outputs(), 80.0)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*drive\.mp4"):
        save_animation(frames(), tmp_path / "drive.mp4")
    assert not list(tmp_path.iterdir())


def test_a_reel_keeps_frames_and_scales_depths_by_the_farthest(picture, tmp_path):
    reel, shown = Reel(), [outputs(), outputs()]
    shown[1][1].values[:] *= 2.0
    for each in shown:
        reel.add(picture, each)
    farthest = max(output.values.max() for each in shown for output in each if output.head.kind == "depth")
    wanted = [frame(picture, each, float(farthest)) for each in shown]
    assert all((one == other).all() for one, other in zip(reel._frames(), wanted, strict=True))
    reel.save(tmp_path / "drive.gif", 25.0)
    with Picture.open(tmp_path / "drive.gif") as found:
        assert found.n_frames == 2 and found.info["duration"] == 40


def test_what_cannot_be_written_is_said(picture, tmp_path):
    with pytest.raises(AnimationError, match="at least one frame"):
        save_animation([], tmp_path / "a.gif")
    with pytest.raises(AnimationError, match=r"a \.gif or a film"):
        save_animation([picture], tmp_path / "a.png")
