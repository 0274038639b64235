# SPDX-License-Identifier: Apache-2.0
"""Maps of task heads in PyTorch: windows of 3x3 convolutions, enlargement by 2, and the machine's arithmetic on bytes.

A map is [B, h, w, C]: float32, or uint8 where it holds the machine's unsigned bytes. A window is one row of 9 * C
inputs, ordered line, column, channel. Integer results equal the bit-exact reference models of ``golden/ops``.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.spec.heads import ENLARGED_PARTS_LOG2
from golden.spec.tables import UNSIGNED_MAX
from golden.spec.tiling import WINDOW
from host.quantizer import emulation

POSITIONS = 1024
"""Positions whose windows are multiplied at a time."""
MIDDLE = (UNSIGNED_MAX + 1) // 2
EXACT_FLOAT32 = 1 << 24


def matrix(weight: Tensor) -> Tensor:
    """Weights [O, C, k, k] as a matrix [O, k * k * C] for windows."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def from_matrix(rows: Tensor, size: int) -> Tensor:
    """Inverse of :func:`matrix` for windows of ``size`` x ``size``."""
    return rows.unflatten(1, (size, size, -1)).permute(0, 3, 1, 2)


def _around(grid: Tensor) -> Tensor:
    return F.pad(grid, (0, 0, 1, 1, 1, 1))


def strips(grid: Tensor) -> Iterator[Tensor]:
    """Windows [T, 9 * C] of all positions, picture by picture, a few lines at a time."""
    (_, lines, width, _), step = grid.shape, max(1, POSITIONS // grid.shape[2])
    for picture in grid:
        padded = _around(picture[None])[0]
        for first in range(0, lines, step):
            count = min(step, lines - first)
            yield torch.cat([padded[first + y:first + y + count, x:x + width]
                             for y in range(WINDOW) for x in range(WINDOW)], -1).flatten(0, 1)


def convolved(grid: Tensor, function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
    """``function`` of the windows of every position, as a map of ``dtype``."""
    return torch.cat([function(rows).to(dtype) for rows in strips(grid)]).unflatten(0, grid.shape[:3])


def sampled_windows(grid: Tensor, positions: Tensor) -> Tensor:
    """Windows of ``positions``, numbered picture by picture and line by line."""
    _, lines, width, _ = grid.shape
    picture, place = positions // (lines * width), positions % (lines * width)
    line, column, padded = place // width, place % width, _around(grid)
    return torch.cat([padded[picture, line + y, column + x] for y in range(WINDOW) for x in range(WINDOW)], -1)


def sampled_positions(grid: Tensor, count: int) -> Tensor:
    """At most ``count`` positions of a map in ascending order, drawn by a fixed seed: the phases of an enlarged map and
    its borders occur as often as in the map."""
    total = grid.shape[0] * grid.shape[1] * grid.shape[2]
    if total <= count:
        return torch.arange(total)
    return torch.from_numpy(np.sort(np.random.default_rng(0).choice(total, count, replace=False)))


def _double(grid: Tensor, axis: int) -> Tensor:
    """Four times the map enlarged by 2 along ``axis``."""
    last = grid.shape[axis] - 1
    index = torch.arange(last + 1)
    near = (index - 1).clamp(min=0), (index + 1).clamp(max=last)
    both = [3 * grid + grid.index_select(axis, places) for places in near]
    return torch.stack(both, axis + 1).flatten(axis, axis + 1)


def doubled(grid: Tensor) -> Tensor:
    """Twice the height and width, as ``interpolate(scale_factor=2, mode="bilinear", align_corners=False)``; of bytes
    with the machine's rounding."""
    parts = 2 ** ENLARGED_PARTS_LOG2
    return torch.stack([_rounded(_double(_double(picture[None].float(), 1), 2)[0] / parts, grid.dtype)
                        for picture in grid])


def _rounded(grid: Tensor, dtype: torch.dtype) -> Tensor:
    return emulation.round_half_up(grid).to(dtype) if dtype == torch.uint8 else grid


def linear(a: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, shift: int) -> Tensor:
    """:func:`host.quantizer.emulation.linear`; of bytes in float32 where that is exact."""
    if a.dtype != torch.uint8 or float(weight.abs().sum(1).max()) * MIDDLE >= EXACT_FLOAT32:
        return emulation.linear(a, weight, bias, multiplier, shift)
    # Bytes less 128 halve the largest partial sum.
    products = (a.float() - MIDDLE) @ weight.float().T
    bias = bias + MIDDLE * weight.sum(1)
    return emulation.round_half_up((products.double() + bias) * (multiplier * 2.0 ** -shift)).float()
