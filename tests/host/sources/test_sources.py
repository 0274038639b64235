# SPDX-License-Identifier: Apache-2.0
"""Files, folders, lists and videos as one sequence of pictures; what is not there is named with its line."""

import os

import numpy as np
import pytest
from PIL import Image

from golden.files.errors import MissingFile
from host import sources
from host.images import MOST_PIXELS
from host.pictures.animation import save_animation
from host.pictures.errors import PictureError
from host.sources import Source


@pytest.fixture
def here(tmp_path, monkeypatch):
    """0.png to 4.png in a folder, grey by number; film.mp4 with frames of 10 n; list.txt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drive").mkdir()
    for number in range(5):
        Image.fromarray(np.full((8, 16, 3), number, np.uint8)).save(f"drive/{number}.png")
    (tmp_path / "drive/notes.txt").write_text("no picture")
    save_animation([np.full((16, 32, 3), 10 * number, np.uint8) for number in range(9)], tmp_path / "film.mp4", 30.0)
    (tmp_path / "list.txt").write_text("drive/3.png\n\ndrive/1.png\n")
    return tmp_path


def names(*places, **options):
    source = Source(places, **options)
    found = [shot.name for shot in source]
    assert source.count == len(found)
    return found


def test_one_sequence(here):
    assert names("drive") == [f"{number}.png" for number in range(5)]
    assert names("@list.txt") == ["3.png", "1.png"]
    assert names("film.mp4") == [f"film.mp4#{number}" for number in range(9)]
    assert names("drive/2.png", "@list.txt", "film.mp4", most=5) == ["2.png", "3.png", "1.png", "film.mp4#0",
                                                                     "film.mp4#1"]
    shots = list(Source(["film.mp4"], every=4))
    assert [round(shot.pixels.mean(), -1) for shot in shots] == [0, 40, 80]


@pytest.mark.parametrize("every, most, wanted", [(1, None, range(9)), (2, None, range(0, 9, 2)), (4, 2, (0, 4)),
                                                 (9, None, (0,)), (1, 100, range(9))])
def test_every_nth_and_at_most(every, most, wanted, here):
    assert names("film.mp4", every=every, most=most) == [f"film.mp4#{number}" for number in wanted]
    assert len(names("drive", every=every, most=most)) == min(-(-5 // every), most or 100)


def test_facts_of_a_source(here):
    film = Source(["film.mp4"], every=3)
    assert film.rate == 10.0 and not film.exact and not film.single
    one = Source(["drive/0.png"])
    assert one.single and one.exact and one.rate is None and one.count == 1
    assert not Source(["drive"]).single and not Source(["@list.txt"]).single
    assert Source(["film.mp4", "drive"]).rate is None
    (here / "one.txt").write_text("drive/0.png")
    assert not Source(["@one.txt"]).single


@pytest.mark.parametrize("place, sentence", [
    ("none.png", "There is no picture file none.png."), ("none.mp4", "There is no video file none.mp4."),
    ("@none.txt", "There is no list none.txt."), ("@drive", "drive is a folder; a list is a file with one path a line"),
    ("@bad.txt", r"There is no picture file drive/7.png \(line 3 of bad.txt\)."), ("@empty.txt", "is empty"),
    ("@binary.txt", "is not text in UTF-8"), ("@zero.txt", r"no picture file drive\x00 \(line 1"),
    ("nothing", "The folder nothing holds no pictures")])
def test_what_is_not_there_is_named(place, sentence, here):
    (here / "bad.txt").write_text("drive/0.png\n\ndrive/7.png\n")
    (here / "empty.txt").write_text("\n")
    (here / "binary.txt").write_bytes(b"\xff\xfe")
    (here / "zero.txt").write_bytes(b"drive\0\n")
    (here / "nothing").mkdir()
    with pytest.raises(PictureError, match=sentence):
        Source([place])


def test_a_list_is_bounded_and_no_pipe(here, monkeypatch):
    os.mkfifo(here / "pipe")
    with pytest.raises(MissingFile):
        Source(["@pipe"])
    monkeypatch.setattr(sources, "LARGEST_LIST", 10)
    with pytest.raises(PictureError, match="has more than 10 bytes"):
        Source(["@list.txt"])


def test_numbers_below_one_are_refused(here):
    for options in ({"every": 0}, {"most": 0}):
        with pytest.raises(PictureError, match="at least 1"):
            Source(["drive"], **options)


def test_the_bound_of_pictures_is_pillows():
    assert MOST_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
