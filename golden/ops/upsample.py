# SPDX-License-Identifier: Apache-2.0
"""Bilinear enlargement by 2, as ``interpolate(scale_factor=2, mode="bilinear", align_corners=False)`` in integers."""

import numpy as np

from golden.ops.arith import DomainError, rsh
from golden.spec.heads import ENLARGED_PARTS_LOG2
from golden.spec.isa import Edge


def doubled(grid: np.ndarray) -> np.ndarray:
    """Sixteen times the enlarged map, exact: integers [lines, columns, ...] -> int64 [2 lines, 2 columns, ...].

    Each axis takes 3 parts of the nearest position and 1 part of the next one; at a border both are the same.

    >>> doubled(np.array([[0, 16]])).tolist()
    [[0, 64, 192, 256], [0, 64, 192, 256]]
    """
    return _double(_double(grid.astype(np.int64), 0), 1)


def _double(grid: np.ndarray, axis: int) -> np.ndarray:
    last = grid.shape[axis] - 1
    index = np.arange(last + 1)
    before = 3 * grid + grid.take(np.maximum(index - 1, 0), axis)
    after = 3 * grid + grid.take(np.minimum(index + 1, last), axis)
    shape = list(grid.shape)
    shape[axis] *= 2
    return np.stack([before, after], axis + 1).reshape(shape)


def upsample(strip: np.ndarray, edges: int) -> np.ndarray:
    """Unsigned bytes [lines, columns, C] -> ``(9 a + 3 b + 3 c + d + 8) >> 4``, uint8 [lines', columns', C].

    On a side without one of the :class:`golden.spec.isa.Edge` bits the outermost line or column is left out: it depends
    on positions beyond the strip.

    >>> upsample(np.array([[[0], [16]]], np.uint8), sum(Edge))[..., 0].tolist()
    [[0, 4, 12, 16], [0, 4, 12, 16]]
    >>> upsample(np.array([[[0], [16]]], np.uint8), Edge.TOP | Edge.BOTTOM)[..., 0].tolist()
    [[4, 12], [4, 12]]
    """
    if strip.dtype != np.uint8 or strip.ndim != 3:
        raise DomainError(f"A strip must be uint8 [lines, columns, channels], not {strip.dtype} {strip.shape}.")
    whole = rsh(doubled(strip), ENLARGED_PARTS_LOG2).astype(np.uint8)
    top, bottom, left, right = (not edges & edge for edge in (Edge.TOP, Edge.BOTTOM, Edge.LEFT, Edge.RIGHT))
    return np.ascontiguousarray(whole[int(top):whole.shape[0] - bottom, int(left):whole.shape[1] - right])
