# SPDX-License-Identifier: Apache-2.0
"""Resizing of positional embeddings to another image size."""

import numpy as np


def resize_positions(rows: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Patch positions [old rows * old columns, D] as float32 [new rows * new columns, D].

    Bilinear with pixel centres at ``i + 1/2`` (``align_corners=False``): the new centre ``i`` reads the old
    place ``(i + 1/2) * old / new - 1/2``, clipped to the grid. Class and distillation rows are not part of
    ``rows``.
    """
    if old == new:
        return rows.astype(np.float32)
    grid = rows.astype(np.float64).reshape(*old, -1)
    vertical, horizontal = (_weights(o, n) for o, n in zip(old, new, strict=True))
    grid = np.einsum("ro,oqd->rqd", vertical, grid)
    grid = np.einsum("cq,rqd->rcd", horizontal, grid)
    return grid.reshape(new[0] * new[1], -1).astype(np.float32)


def _weights(old: int, new: int) -> np.ndarray:
    """Matrix [new, old] of one axis; every row sums to 1 and has at most two entries."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, old - 1)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new), low), 1 - (place - low))
    np.add.at(matrix, (np.arange(new), high), place - low)
    return matrix
