# SPDX-License-Identifier: Apache-2.0
"""Pictures to run, one at a time: files, folders, lists of files, videos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from golden.files.bounds import refuse_pipe
from host.images import read_picture
from host.pictures.errors import PictureError
from host.sources.video import SUFFIXES, Facts, facts_of, frames_of

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Suffixes of the files of a folder that count as pictures."""
LIST = "@"
"""What a list of files begins with: ``@list.txt``."""
LARGEST_LIST = 1 << 24


@dataclass(frozen=True)
class Shot:
    """One picture: the ``name`` of its file, which for videos ends in ``#`` and the number of the frame; ``pixels``
    uint8 [height, width, 3].
    """

    name: str
    pixels: np.ndarray


class Source:
    """Every ``every``-th picture of ``places``, at most ``most``. They are read when asked for, and none is kept.

    ``places`` are files, folders (their pictures by name) and ``@list.txt`` (one path a line, as seen from the working
    folder). Files must be there; what is in them shows when they are read. ``single``: it is one picture file. Raises
    PictureError for what is not there, MissingFile for a pipe.
    """

    def __init__(self, places: Sequence[str], every: int = 1, most: int | None = None):
        if every < 1 or most is not None and most < 1:
            raise PictureError("--every and --frames are whole numbers of at least 1.")
        self.every, self.most = every, most
        self.files = [file for place in places for file in _files(place)]
        videos = {file: facts_of(file) for file in dict.fromkeys(self.files) if is_video(file)}
        self.single = len(self.files) == len(places) == 1 and not videos and not places[0].startswith(LIST) \
            and not Path(places[0]).is_dir()
        self.count = self._count(videos)
        """How many pictures there are; None where a video does not tell, and of videos by what they say."""
        self.exact = not videos
        """Whether ``count`` is sure."""
        rate = videos[self.files[0]].rate if len(self.files) == 1 and videos else None
        self.rate = None if rate is None else rate / every
        """Pictures a second, of one video; else None."""

    def __iter__(self) -> Iterator[Shot]:
        chosen = islice(self._all(), 0, None, self.every)
        return chosen if self.most is None else islice(chosen, self.most)

    def _all(self) -> Iterator[Shot]:
        for file in self.files:
            if is_video(file):
                for number, pixels in enumerate(frames_of(file)):
                    yield Shot(f"{file.name}#{number}", pixels)
            else:
                yield Shot(file.name, read_picture(file))

    def _count(self, videos: dict[Path, Facts]) -> int | None:
        counts = [videos[file].frames if file in videos else 1 for file in self.files]
        known = None if None in counts else -(-sum(count or 0 for count in counts) // self.every)
        return self.most if known is None else known if self.most is None else min(known, self.most)


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def _files(place: str) -> list[Path]:
    """The files that ``place`` stands for."""
    if place.startswith(LIST):
        return _listed(Path(place[len(LIST):]))
    path = Path(place)
    if not path.is_dir():
        return [_there(path, "")]
    found = sorted(each for each in path.iterdir() if each.suffix.lower() in PICTURES)
    if not found:
        raise PictureError(f"The folder {path} holds no pictures ({', '.join(PICTURES)}).")
    return found


def _listed(path: Path) -> list[Path]:
    if not path.exists():
        raise PictureError(f"There is no list {path}.")
    refuse_pipe(path)
    if path.is_dir():
        raise PictureError(f"{path} is a folder; a list is a file with one path a line.")
    with path.open("rb") as file:
        data = file.read(LARGEST_LIST + 1)
    if len(data) > LARGEST_LIST:
        raise PictureError(f"The list {path} has more than {LARGEST_LIST:,} bytes.")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise PictureError(f"The list {path} is not text in UTF-8.") from None
    found = [_there(Path(line), f" (line {number} of {path})") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise PictureError(f"The list {path} is empty; it holds one path a line.")
    return found


def _there(path: Path, where: str) -> Path:
    if "\0" in str(path) or not path.exists():
        raise PictureError(f"There is no {'video' if is_video(path) else 'picture'} file {path}{where}.")
    return path
