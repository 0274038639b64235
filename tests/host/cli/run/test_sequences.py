# SPDX-License-Identifier: Apache-2.0
"""Verb ``run`` of several pictures, a list and a video: each result is its picture's, animations keep the rate."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image as Picture

from golden.model.int_model import dequantize
from golden.model.random_int_model import random_int_model
from host import progress
from host.images import fitted
from host.pictures.animation import save_animation
from host.sources.video import facts_of, frames_of
from tests.host.cli.test_results import CONFIG
from tests.host.support.commands import facts, refused

COUNT = 7


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model with two heads, film.mp4 of seven frames, drive/ of seven pictures, list.txt of three of them."""
    root = tmp_path_factory.mktemp("sequences")
    random_int_model(CONFIG, seed=3).save(root / "model.safetensors")
    rng = np.random.default_rng(1)
    frames = [np.kron(rng.integers(0, 256, (4, 8, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
              for _ in range(COUNT)]
    save_animation(frames, root / "film.mp4", 20.0)
    (root / "drive").mkdir()
    for number, each in enumerate(frames):
        Picture.fromarray(each).save(root / f"drive/{number}.png")
    (root / "list.txt").write_text("drive/4.png\ndrive/0.png\ndrive/2.png\n")
    (root / "broken.txt").write_text("drive/0.png\nlist.txt\n")
    return root


@pytest.fixture
def run(place, edge_moe, monkeypatch):
    """Facts of a run in that folder."""
    monkeypatch.chdir(place)
    return lambda *words: facts(edge_moe, "run", "model.safetensors", *words, "--machine", "nano")


def test_frames_of_a_video_give_what_the_network_gives(run, place, tmp_path):
    found = run("film.mp4", "-o", tmp_path / "all.npz", "--every", 2, "--frames", 3)
    model, frames = random_int_model(CONFIG, seed=3), list(frames_of(place / "film.mp4"))
    wanted = [np.stack([dequantize(model.run(fitted(frames[number], CONFIG), task)) for task in CONFIG.tasks])
              for number in (0, 2, 4)]
    with np.load(tmp_path / "all.npz") as arrays:
        np.testing.assert_array_equal(arrays["features"], wanted)
        assert arrays["semseg"].shape == (3, 32, 64)
    assert found["pictures"] == 3 and found["pictures_per_second"] > 0
    assert [row["picture"] for row in found["results"]] == ["film.mp4#0", "film.mp4#2", "film.mp4#4"]
    assert [row["mean"] for row in found["results"]] == [pytest.approx(float(each.mean())) for each in wanted]


def test_an_animation_keeps_the_rate_of_the_video(run, tmp_path):
    for every, rate in ((1, 20.0), (2, 10.0)):
        run("film.mp4", "-o", tmp_path / "out.mp4", "--every", every)
        found = facts_of(tmp_path / "out.mp4")
        assert (found.rate, found.frames) == (rate, -(-COUNT // every))
    run("film.mp4", "-o", tmp_path / "out.gif")
    with Picture.open(tmp_path / "out.gif") as found:
        assert found.n_frames == COUNT and found.info["duration"] == 50 and found.size == (3 * 64, 32)
    run("drive", "-o", tmp_path / "drive.webm")
    assert facts_of(tmp_path / "drive.webm").rate == 10.0


def test_lists_folders_and_files_are_one_sequence(run, tmp_path):
    found = run("@list.txt", "drive/6.png", "-o", tmp_path / "some.npy")
    assert [row["picture"] for row in found["results"]] == ["4.png", "0.png", "2.png", "6.png"]
    run("drive", "-o", tmp_path / "all.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "some.npy"), np.load(tmp_path / "all.npy")[[4, 0, 2, 6]])
    assert "results" not in run("drive/0.png") and run("@list.txt", "--scales", 1)["pictures"] == 3


def test_a_program_for_several_frames_leaves_an_incomplete_group_out(run, place, edge_moe, tmp_path):
    found = run("film.mp4", "--task", "semseg#2", "-o", tmp_path / "out.npy")
    assert found["pictures"] == 6 and found["cycles_for"] == "2 pictures together"
    run("film.mp4", "--task", "semseg", "-o", tmp_path / "one.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.load(tmp_path / "one.npy")[:6])
    words = ("run", "model.safetensors", "--machine", "nano", "--task", "semseg#2")
    assert "the last 1 frames are left out: semseg#2 takes 2 at a time." in edge_moe(*words, "film.mp4")[2]
    assert "computes 2 pictures at a time; 7 came" in refused(edge_moe, *words, "drive")


def test_rows_come_as_the_pictures_do(run, edge_moe):
    status, out, err = edge_moe("run", "model.safetensors", "--machine", "nano", "--csv", "@broken.txt")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 2 and [row["picture"] for row in rows] == ["0.png"] and float(rows[0]["mean"])
    assert re.fullmatch(r"edge-moe: PictureError: list\.txt is not a picture that can be read: .*\.\n", err)


def test_rows_go_to_standard_output_while_a_bar_is_drawn(run, edge_moe, monkeypatch):
    bar = io.StringIO()
    monkeypatch.setattr(progress, "console", progress.Console(file=bar, force_terminal=True, width=100))
    status, out, _ = edge_moe("run", "model.safetensors", "--machine", "nano", "--csv", "drive")
    assert status == 0 and len(out.splitlines()) == 1 + COUNT and "drive" not in bar.getvalue()
    assert f"{COUNT}/{COUNT}" in bar.getvalue() and "pictures/s" in bar.getvalue()


def test_what_cannot_be_is_refused(run, edge_moe, place, tmp_path):
    model = ("run", "model.safetensors")
    assert "draws one picture; of" in refused(edge_moe, *model, "film.mp4", "--save-picture", tmp_path / "a.png")
    assert "is the input" in refused(edge_moe, *model, "film.mp4", "-o", "film.mp4")
    assert "lies in the folder drive" in refused(edge_moe, *model, "@list.txt", "drive", "-o", "drive/out.npy")
    assert "There is no picture file none.png." in refused(edge_moe, *model, "drive", "none.png")
    assert edge_moe(*model, "film.mp4", "--every", 0)[0] == edge_moe(*model, "film.mp4", "--frames", 0)[0] == 2
    (tmp_path / "cut.mp4").write_bytes((place / "film.mp4").read_bytes()[:500])
    assert "cut.mp4 is not a video that can be read" in refused(edge_moe, *model, tmp_path / "cut.mp4")


def test_progress_tells_pictures_a_second_and_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for total, said in ((20, "5/20 1 pictures/s  f#5  5 s, about 15 s left"), (None, "5/? 1 pictures/s  f#5  5 s")):
        lines = io.StringIO()
        monkeypatch.setattr(progress, "console", progress.Console(file=lines, force_terminal=False, width=200))
        now[0] = 0.0
        with progress.pictures("nano on golden", total) as report:
            for done in range(1, 6):
                now[0] += 1.0
                report(done, f"f#{done}")
        assert lines.getvalue() == f"nano on golden: {said}\n"


def test_a_dumb_terminal_gets_lines(monkeypatch):
    text = io.StringIO()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(progress, "console", progress.Console(file=text, force_terminal=True))
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    with progress.pictures("nano", 2) as report:
        report(1, "a.png")
    assert text.getvalue().startswith("nano: 1/2 ") and "\x1b" not in text.getvalue()
