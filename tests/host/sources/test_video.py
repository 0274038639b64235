# SPDX-License-Identifier: Apache-2.0
"""Videos: every frame in order at its rate, one at a time, upright; what is damaged or hostile ends in a sentence."""

import os
import tracemalloc

import av
import numpy as np
import pytest

from golden.files.errors import MissingFile
from host.pictures.animation import FILMS, save_animation
from host.pictures.errors import PictureError
from host.sources import video
from host.sources.video import SUFFIXES, facts_of, frames_of

COUNT, H, W = 12, 64, 128


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film of each kind, frame n as bright as 20 n."""
    root = tmp_path_factory.mktemp("films")
    frames = [np.full((H, W, 3), 20 * number, np.uint8) for number in range(COUNT)]
    for suffix in FILMS:
        save_animation(frames, root / f"film{suffix}", 25.0)
    return {path.suffix: path for path in root.iterdir()}


@pytest.mark.parametrize("suffix", FILMS)
def test_frames_come_in_order(suffix, films):
    facts = facts_of(films[suffix])
    assert (facts.rate, facts.frames) == (25.0, COUNT)
    found = list(frames_of(films[suffix]))
    assert [each.shape for each in found] == [(H, W, 3)] * COUNT and found[0].dtype == np.uint8
    assert all(abs(each.mean() - 20 * number) < 4 for number, each in enumerate(found))


def test_one_frame_is_held_at_a_time(tmp_path):
    path, size = tmp_path / "long.mp4", (256, 256, 3)
    save_animation((np.full(size, number % 250, np.uint8) for number in range(100)), path, 25.0)
    tracemalloc.start()
    assert sum(1 for _ in frames_of(path)) == 100
    assert tracemalloc.get_traced_memory()[1] < 20 * np.prod(size)
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", FILMS)
@pytest.mark.parametrize("seed", range(6))
def test_damage_ends_in_a_sentence_or_in_frames(suffix, seed, films, tmp_path):
    good, rng = films[suffix].read_bytes(), np.random.default_rng(seed)
    bad, path = bytearray(good), tmp_path / f"bad{suffix}"
    for place in rng.integers(0 if seed % 2 else len(good) // 3, len(good), 30):
        bad[place] = rng.integers(256)
    path.write_bytes(bad if seed < 4 else good[:len(good) * seed // 8])
    try:
        facts_of(path)
        assert 0 < len(list(frames_of(path))) <= COUNT
    except PictureError as error:
        assert str(path) in str(error) and str(error).endswith(".") and "\n" not in str(error)


def test_a_video_cut_short_says_so(films, tmp_path):
    path = tmp_path / "cut.webm"
    good = films[".webm"].read_bytes()
    path.write_bytes(good[:len(good) * 3 // 4])
    with pytest.raises(PictureError, match=r"cut\.webm ends after \d+ of about 12 frames: it is damaged or cut short"):
        list(frames_of(path))


def test_a_broken_frame_is_named(films, tmp_path):
    frames = [np.random.default_rng(number).integers(0, 256, (H, W, 3), dtype=np.uint8) for number in range(6)]
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuvj420p"
        packets = []
        for each in frames:
            packets += stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24"))
        for packet in packets + stream.encode(None):
            film.mux(packet)
    data = path.read_bytes()
    third = [place for place in range(len(data)) if data.startswith(b"\xff\xd8\xff", place)][3]
    path.write_bytes(data[:third] + bytes(600) + data[third + 600:])
    with pytest.raises(PictureError, match=r"Frame 3 of .*a\.avi cannot be decoded: "):
        list(frames_of(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"words " * 200, b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfilm.mp4\n",
                                     b"ffconcat version 1.0\nfile film.mp4\n"])
def test_what_is_no_video_opens_nothing_else(suffix, content, films, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    (tmp_path / "film.mp4").write_bytes(films[".mp4"].read_bytes())
    with pytest.raises(PictureError, match="is not a video that can be read: |holds no video"):
        facts_of(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(MissingFile, match="not a pipe"):
        facts_of(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(PictureError, match="must be a video file, not a folder"):
        facts_of(tmp_path / "folder.mp4")


def test_frames_that_are_too_large_are_refused(films, monkeypatch):
    monkeypatch.setattr(video, "MOST_PIXELS", H * W - 1)
    with pytest.raises(PictureError, match=f"has frames of more than {H * W - 1:,} pixels"):
        facts_of(films[".mp4"])


def test_a_film_without_pictures_is_refused(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            film.mux(packet)
    with pytest.raises(PictureError, match="holds no video"):
        facts_of(path)
