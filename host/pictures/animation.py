# SPDX-License-Identifier: Apache-2.0
"""Animation of a drive: input and every task's result side by side, as a GIF or a film."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from golden.spec.whole_file import write_whole
from host.pictures.coloured import coloured
from host.pictures.errors import AnimationError
from host.pictures.panels import Output

FILMS = {".mp4": ("mp4", "h264"), ".webm": ("webm", "libvpx-vp9"), ".mkv": ("matroska", "h264")}
"""Suffixes of films: container and codec."""


def frame(picture: np.ndarray, outputs: list[Output], farthest: float) -> np.ndarray:
    """uint8 [H, W * (1 + outputs), 3]: the picture and its results; depth from 0 to ``farthest``."""
    return np.concatenate([np.broadcast_to(picture, (*picture.shape[:2], 3)),
                           *(coloured(output, farthest) for output in outputs)], axis=1)


def check_film(path: Path) -> None:
    """Raise AnimationError for a file that is neither a GIF nor a film."""
    if path.suffix not in (".gif", *FILMS):
        raise AnimationError(f"An animation is a .gif or a film ({', '.join(FILMS)}), not {path.name!r}.")
    if path.suffix in FILMS:
        import av  # noqa: F401  # before the work, if it is not installed


def save_animation(frames: Iterable[np.ndarray], path: Path, rate: float = 10.0) -> None:
    """Write frames of one size, ``rate`` a second, whole or not at all; of a film one is held at a time. Raises
    AnimationError and OSError.
    """
    check_film(path)
    coming = iter(frames)
    first = next(coming, None)
    if first is None:
        raise AnimationError("An animation needs at least one frame.")
    all_frames = chain([first], coming)
    write_whole(path, lambda part: (_gif if path.suffix == ".gif" else _film)(all_frames, part, path, rate))


def _gif(frames: Iterator[np.ndarray], part: Path, path: Path, rate: float) -> None:
    pictures = (Picture.fromarray(each).quantize(128) for each in frames)
    next(pictures).save(part, format="GIF", save_all=True, append_images=pictures, duration=round(1000 / rate), loop=0)


def _film(frames: Iterator[np.ndarray], part: Path, path: Path, rate: float) -> None:
    import av
    from av.error import FFmpegError

    container, codec = FILMS[path.suffix]
    try:
        with part.open("wb") as file, av.open(file, "w", format=container) as film:
            stream: Any = None
            for each in frames:
                height, width = (size - size % 2 for size in each.shape[:2])
                if stream is None:
                    stream = film.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                pixels = np.ascontiguousarray(each[:height, :width])
                film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            if stream is not None:
                film.mux(stream.encode(None))
    except FFmpegError as error:
        raise AnimationError(f"The film {path} could not be written: {error.strerror or error}.") from None
