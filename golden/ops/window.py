# SPDX-License-Identifier: Apache-2.0
"""Operands of a 3x3 convolution: the nine positions around each position of a map, zeros beyond the map's edges."""

import numpy as np

from golden.ops.arith import DomainError
from golden.ops.operand import Operand
from golden.spec.isa import Edge
from golden.spec.machine import LINE, SLICE
from golden.spec.model import BLOCK
from golden.spec.tiling import WINDOW, operand_rows, window_order


def padding(edges: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Lines and columns of zeros (before, after) that a strip with these :class:`golden.spec.isa.Edge` bits needs.

    >>> padding(Edge.TOP | Edge.RIGHT)
    ((1, 0), (0, 1))
    """
    return ((int(bool(edges & Edge.TOP)), int(bool(edges & Edge.BOTTOM))),
            (int(bool(edges & Edge.LEFT)), int(bool(edges & Edge.RIGHT))))


def windows(strip: Operand, lines: int, width: int, edges: int) -> Operand:
    """Operand [results, 9 * C], in the order of :func:`golden.spec.tiling.window_order`, of a strip of ``lines`` x
    ``width`` positions with C channels, a multiple of 64: those of its positions whose windows are complete, which is
    all of them on a side with an edge, where zeros follow.

    >>> strip = Operand(np.ones((6, 64), np.int16))
    >>> windows(strip, 2, 3, sum(Edge)).values().sum(1).tolist()  # 64 channels; 4, 6, 4 positions are in the map
    [256, 384, 256, 256, 384, 256]
    """
    channels = strip.shape[1]
    if channels % LINE or strip.shape[0] != lines * width:
        raise DomainError(f"A strip of {lines} x {width} positions must be [{lines * width}, 64 n], not {strip.shape}.")
    around = padding(edges)
    data = _nine(strip.bytes.reshape(lines, width, -1, LINE), around)
    if strip.exp is None:
        return Operand(data)
    return Operand(data, _nine(strip.exp.reshape(lines, width, -1, LINE // BLOCK), around))


def _nine(grid: np.ndarray, around) -> np.ndarray:
    """[lines, columns, rows, n] -> [results, 9 * rows * n]: line of the window, row, column of the window, n."""
    grid = np.pad(grid, (*around, (0, 0), (0, 0)))
    lines, columns = grid.shape[0] - WINDOW + 1, grid.shape[1] - WINDOW + 1
    taps = np.stack([np.stack([grid[y:y + lines, x:x + columns] for x in range(WINDOW)], axis=3)
                     for y in range(WINDOW)], axis=2)  # [lines, columns, line, row, column, n]
    return np.ascontiguousarray(taps.reshape(lines * columns, -1))


def window_weight(weight: np.ndarray) -> np.ndarray:
    """Weights [O, C, 3, 3] as the array takes them: [O, 9 * C'], C' the next multiple of 64, zeros beyond C.

    >>> int(window_weight(np.ones((1, 3, 3, 3), np.int8)).sum()), window_weight(np.ones((2, 65, 3, 3), np.int8)).shape
    (27, (2, 1152))
    """
    channels = weight.shape[1]
    line, column, channel = np.array(window_order(channels)).T
    padded = np.pad(weight, ((0, 0), (0, operand_rows(channels) * LINE - channels), (0, 0), (0, 0)))
    return np.ascontiguousarray(padded[:, channel, line, column])


assert LINE % SLICE == 0 and LINE % BLOCK == 0
