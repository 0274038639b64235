# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file, decoded one at a time.

The container is the one that the suffix names and is read from an open file, never guessed: formats such as playlists,
which make a decoder open other files and addresses, are not among them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golden.files.bounds import refuse_pipe
from host.images import MOST_PIXELS
from host.pictures.errors import PictureError

SUFFIXES = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
"""Suffixes of videos, and the containers that they name."""
LEAST = 0.8
"""Part of the promised frames that must come; their number is an estimate in some containers."""


@dataclass(frozen=True)
class Facts:
    """What a video says of itself: ``rate`` in frames a second and the number of ``frames``, None where it does not."""

    rate: float | None
    frames: int | None


def facts_of(path: Path) -> Facts:
    """Rate and number of frames. Raises PictureError for what is no video."""
    with _opened(path) as opened:
        return _facts(*opened)


def _facts(container: Any, stream: Any) -> Facts:
    rate = float(stream.average_rate) if stream.average_rate else None
    seconds = container.duration / 1e6 if container.duration else None
    frames = stream.frames or (round(seconds * rate) if seconds and rate else 0)
    return Facts(rate, frames if frames > 0 else None)


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """The frames, uint8 [height, width, 3], upright. Raises PictureError with the number of one that cannot be
    decoded."""
    with _opened(path) as (container, stream):
        frames, number = container.decode(stream), 0
        while True:
            try:
                frame = next(frames, None)
                if frame is None:
                    break
                _check_size(path, frame.width, frame.height)
                pixels = frame.to_ndarray(format="rgb24")
            except PictureError:
                raise
            except Exception as error:  # decoders raise whatever they like
                raise PictureError(f"Frame {number} of {path} cannot be decoded: {_reason(error)}.") from None
            yield np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
            number += 1
        promised = _facts(container, stream).frames or 0
    if not number:
        raise PictureError(f"{path} holds no frames.")
    if number < LEAST * promised:
        raise PictureError(f"{path} ends after {number} of about {promised} frames: it is damaged or cut short.")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream."""
    import av

    refuse_pipe(path)
    if path.is_dir():
        raise PictureError(f"{path} must be a video file, not a folder.")
    with path.open("rb") as file:
        try:
            container = av.open(file, format=SUFFIXES[path.suffix.lower()], metadata_errors="replace")
        except Exception as error:  # and so do those who read containers
            raise PictureError(f"{path} is not a video that can be read: {_reason(error)}.") from None
        with container:
            stream = next(iter(container.streams.video), None)
            if stream is None or stream.codec_context is None:
                raise PictureError(f"{path} holds no video, or one of an unknown kind.")
            _check_size(path, stream.width, stream.height)
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            yield container, stream


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise PictureError(f"{path} has frames of more than {MOST_PIXELS:,} pixels: make it smaller first.")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0].rstrip(".")
