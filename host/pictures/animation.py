# SPDX-License-Identifier: Apache-2.0
"""Animation of a drive: input and every task's result side by side, as a GIF, or a film where ffmpeg is installed."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from golden.spec.whole_file import write_whole
from host.pictures.coloured import coloured
from host.pictures.errors import AnimationError
from host.pictures.panels import Output

FILMS = (".mp4", ".webm", ".mkv")


def frame(picture: np.ndarray, outputs: list[Output], farthest: float) -> np.ndarray:
    """uint8 [H, W * (1 + outputs), 3]: the picture and its results; depth from 0 to ``farthest``."""
    return np.concatenate([np.broadcast_to(picture, (*picture.shape[:2], 3)),
                           *(coloured(output, farthest) for output in outputs)], axis=1)


def check_film(path: Path) -> None:
    """Raise AnimationError for a file that is neither a GIF nor a film that could be written here."""
    if path.suffix not in (".gif", *FILMS):
        raise AnimationError(f"An animation is a .gif or a film ({', '.join(FILMS)}), not {path.name!r}.")
    if path.suffix != ".gif" and shutil.which("ffmpeg") is None:
        raise AnimationError(f"Writing {path.name} needs the program ffmpeg; a .gif needs nothing.")


def save_animation(frames: list[np.ndarray], path: Path, rate: float = 10.0) -> None:
    """Write frames of one size, ``rate`` a second, whole or not at all. Raises AnimationError and OSError."""
    if not frames:
        raise AnimationError("An animation needs at least one frame.")
    if path.suffix == ".gif":
        pictures = [Picture.fromarray(each).quantize(128) for each in frames]
        write_whole(path, lambda part: pictures[0].save(part, format="GIF", save_all=True, append_images=pictures[1:],
                                                       duration=round(1000 / rate), loop=0))
        return
    check_film(path)
    write_whole(path, lambda part: _film(frames, part, path, rate))


def _film(frames: list[np.ndarray], part: Path, path: Path, rate: float) -> None:
    height, width = (size - size % 2 for size in frames[0].shape[:2])
    form = {".mkv": "matroska"}.get(path.suffix, path.suffix[1:])
    done = subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
         "-r", str(rate), "-i", "-", "-pix_fmt", "yuv420p", "-f", form, str(part)],
        input=b"".join(np.ascontiguousarray(each[:height, :width]).tobytes() for each in frames), capture_output=True,
        check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().replace(str(part), str(path))
        raise AnimationError(f"ffmpeg could not write {path}: {said[:200].rstrip('.')}.")
