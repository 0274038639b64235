# SPDX-License-Identifier: Apache-2.0
"""3x3 convolutions and bilinear enlargement, whole maps and strips of them, against PyTorch."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.ops.arith import DomainError
from golden.ops.matmul import matmul
from golden.ops.operand import Operand
from golden.ops.upsample import doubled, upsample
from golden.ops.window import window_weight, windows
from golden.spec.isa import Edge
from golden.spec.tiling import upsampled

ALL = sum(Edge)
EDGES = [Edge.TOP, Edge.BOTTOM, Edge.LEFT, Edge.RIGHT]


def random_map(rng, lines, width, channels, low=0, high=256):
    return rng.integers(low, high, (lines, width, channels)).astype(np.uint8 if low >= 0 else np.int8)


def torch_conv(grid, weight, padding=1):
    """[lines, width, C] and [O, C, 3, 3] -> int64 [lines, width, O]."""
    x = torch.from_numpy(grid.astype(np.float64)).permute(2, 0, 1)[None]
    return F.conv2d(x, torch.from_numpy(weight.astype(np.float64)), padding=padding)[0].permute(1, 2, 0).long().numpy()


def convolved(grid, weight, edges):
    lines, width, channels = grid.shape
    flat = grid.reshape(-1, channels)
    strip = Operand.pixels(flat) if grid.dtype == np.uint8 else Operand(flat, np.zeros((len(flat), channels // 32),
                                                                                       np.uint8))
    acc = matmul(windows(strip, lines, width, edges), window_weight(weight))
    height = lines - 2 + bool(edges & Edge.TOP) + bool(edges & Edge.BOTTOM)
    return acc.reshape(height, -1, len(weight))


@pytest.mark.parametrize("lines, width, channels", [(1, 1, 64), (2, 3, 64), (5, 4, 128), (3, 7, 192)])
@pytest.mark.parametrize("low", [0, -128])
def test_a_whole_map_is_a_padded_convolution(lines, width, channels, low):
    rng = np.random.default_rng(lines * width + channels)
    grid = random_map(rng, lines, width, channels, low, low + 256)
    weight = rng.integers(-127, 128, (32, channels, 3, 3)).astype(np.int8)
    assert (convolved(grid, weight, ALL) == torch_conv(grid, weight)).all()


@pytest.mark.parametrize("edges", [sum(chosen) for n in range(5) for chosen in itertools.combinations(EDGES, n)])
def test_a_strip_gives_its_part_of_the_map(edges):
    """The strip is the whole map where it has an edge, and one position narrower where it has none."""
    rng = np.random.default_rng(int(edges))
    grid, weight = random_map(rng, 6, 7, 64), rng.integers(-127, 128, (4, 64, 3, 3)).astype(np.int8)
    top, bottom, left, right = (int(not edges & edge) for edge in EDGES)
    part = grid[top:6 - bottom, left:7 - right]
    wanted = torch_conv(grid, weight)[2 * top:6 - 2 * bottom, 2 * left:7 - 2 * right]
    assert (convolved(part, weight, edges) == wanted).all()
    whole = upsample(grid, ALL)
    wanted = whole[3 * top:12 - 3 * bottom, 3 * left:14 - 3 * right]
    assert (upsample(part, edges) == wanted).all()
    assert wanted.shape[:2] == (upsampled(len(part), 2 - top - bottom), upsampled(part.shape[1], 2 - left - right))


def test_channels_are_filled_up_with_zero_weights():
    rng = np.random.default_rng(5)
    grid, weight = random_map(rng, 4, 4, 64), rng.integers(-127, 128, (8, 40, 3, 3)).astype(np.int8)
    assert (convolved(grid, weight, ALL) == torch_conv(grid[..., :40], weight)).all()


@pytest.mark.parametrize("lines, width", [(1, 1), (1, 5), (4, 2), (8, 16)])
def test_enlargement_is_bilinear_interpolation(lines, width):
    rng = np.random.default_rng(lines)
    grid = random_map(rng, lines, width, 3)
    x = torch.from_numpy(grid.astype(np.float64)).permute(2, 0, 1)[None]
    exact = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    assert (doubled(grid) == 16 * exact).all()
    assert (upsample(grid, ALL) == np.floor(exact + 0.5)).all()


def test_what_is_no_strip_is_refused():
    with pytest.raises(DomainError, match=r"must be \[6, 64 n\], not \(6, 32\)"):
        windows(Operand(np.zeros((6, 32), np.int16)), 2, 3, ALL)
    with pytest.raises(DomainError, match="must be uint8"):
        upsample(np.zeros((2, 2, 3), np.int16), ALL)
