# SPDX-License-Identifier: Apache-2.0
"""Maps of task heads at the picture's size, the last enlargement by 2 exact; features of kept patches, in place."""

from dataclasses import dataclass, field

import numpy as np

from golden.spec.heads import ENLARGED_PARTS_LOG2


def patches_left(rounds: list[np.ndarray], extra: int) -> np.ndarray:
    """Numbers of the patches that several blocks left, int64: each block's numbers count the tokens that the one before
    it left, ``extra`` tokens first.

    >>> patches_left([np.array([0, 2, 3, 5]), np.array([0, 1, 3])], 1).tolist()
    [1, 4]
    """
    left = rounds[0].astype(np.int64)
    for numbers in rounds[1:]:
        left = left[numbers]
    return left[extra:] - extra


def on_grid(features: np.ndarray, kept: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Features [extra tokens and kept patches, dim] of a program with token pruning, without the extra tokens, at their
    patches' places: float32 [lines, columns, dim], NaN where a patch was not kept. ``grid`` is the model's."""
    placed = np.full((grid[0] * grid[1], features.shape[-1]), np.nan, np.float32)
    placed[kept] = features[len(features) - len(kept):]
    return placed.reshape(*grid, -1)


def doubled(codes: np.ndarray) -> np.ndarray:
    """Sixteen times the bilinear enlargement by 2 of int16 [lines, columns, channels], exact, int32: 3 parts of the
    nearest position and 1 part of the next one along each axis, at a border of itself.

    >>> doubled(np.array([[[0], [16]]], np.int16))[0, :, 0].tolist()
    [0, 64, 192, 256]
    """
    return _double(_double(codes.astype(np.int32), 0), 1)


def _double(grid: np.ndarray, axis: int) -> np.ndarray:
    index, last = np.arange(grid.shape[axis]), grid.shape[axis] - 1
    before = 3 * grid + grid.take(np.maximum(index - 1, 0), axis)
    after = 3 * grid + grid.take(np.minimum(index + 1, last), axis)
    shape = list(grid.shape)
    shape[axis] *= 2
    return np.stack([before, after], axis + 1).reshape(shape)


@dataclass(frozen=True)
class TaskMap:
    """Result of a task head: ``codes`` int16 [H / 2, W / 2, classes] as the machine leaves them, steps of 2**-frac;
    ``kind`` is a key of :data:`golden.spec.heads.HEAD_KINDS`. H and W are 16 times the token grid's, the picture's for
    patches of 16 x 16.
    """

    name: str
    kind: str
    codes: np.ndarray = field(repr=False)
    frac: int

    @property
    def shape(self) -> tuple[int, ...]:
        """That of :attr:`picture`."""
        lines, columns = 2 * self.codes.shape[0], 2 * self.codes.shape[1]
        return (lines, columns, 3) if self.kind == "normals" else (lines, columns)

    @property
    def scores(self) -> np.ndarray:
        """The head's values at the picture's size, float32 [H, W, classes], exact."""
        return doubled(self.codes).astype(np.float32) * np.float32(2.0 ** -(self.frac + ENLARGED_PARTS_LOG2))

    @property
    def picture(self) -> np.ndarray:
        """What the values mean. ``semseg``: the class of each pixel, the first of the largest scores, uint8 [H, W]
        (uint16 beyond 256 classes). ``depth``: float32 [H, W]. ``edge``, ``saliency``: probability, float32 [H, W].
        ``normals``: directions of length 1, float32 [H, W, 3], or 0 where there is none.
        """
        if self.kind == "semseg":
            classes = doubled(self.codes).argmax(-1)
            return classes.astype(np.uint8 if self.codes.shape[-1] <= 256 else np.uint16)
        if self.kind == "normals":
            scores = self.scores
            length = np.linalg.norm(scores, axis=-1, keepdims=True)
            return scores / np.maximum(length, np.float32(2.0 ** -24))
        values = self.scores[..., 0]
        if self.kind == "depth":
            return values
        with np.errstate(over="ignore"):
            return np.float32(1) / (np.float32(1) + np.exp(-values))
