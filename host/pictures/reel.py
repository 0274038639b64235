# SPDX-License-Identifier: Apache-2.0
"""Pictures and their results on their way into an animation: on the disk, so that a drive may be long."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from golden.spec.heads import HeadConfig
from host.pictures.animation import frame, save_animation
from host.pictures.panels import Output


class Reel:
    """Frames one after the other; the scale of depths is that of the farthest of all."""

    def __init__(self):
        self._file = tempfile.TemporaryFile(suffix=".reel")
        self._heads: list[list[HeadConfig]] = []
        self._farthest = 0.0

    def add(self, pixels: np.ndarray, outputs: list[Output]) -> None:
        """Append a picture, uint8 [H, W, 1 or 3], and its results."""
        for array in (pixels, *(output.values for output in outputs)):
            np.save(self._file, array, allow_pickle=False)
        self._heads.append([output.head for output in outputs])
        depths = [float(output.values.max()) for output in outputs if output.head.kind == "depth"]
        self._farthest = max(self._farthest, *depths) if depths else self._farthest

    def save(self, path: Path, rate: float) -> None:
        """Write the animation, ``rate`` frames a second, whole or not at all. Raises AnimationError and OSError."""
        with self._file:
            save_animation(self._frames(), path, rate)

    def _frames(self) -> Iterator[np.ndarray]:
        self._file.seek(0)
        for heads in self._heads:
            pixels = np.load(self._file, allow_pickle=False)
            outputs = [Output(head, np.load(self._file, allow_pickle=False)) for head in heads]
            yield frame(pixels, outputs, self._farthest or 1.0)
