# SPDX-License-Identifier: Apache-2.0
"""Training batches: random crops, mirror images and colours of pictures, drawn by the number of the step.

What a step sees depends on the recipe's seed and the step's number only, so that a resumed run sees what an
uninterrupted one would.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from host.datasets.folder import Folder
from host.scenes import cache
from host.scenes.classes import DEPTH_STEP
from host.training.recipe import Recipe

PATCH = 16


class Source(Protocol):
    """Pictures [3, H, W], labels [H, W] and depths [H, W] in metres by number; absent ones are None."""

    def __len__(self) -> int: ...

    def item(self, index: int) -> tuple[Tensor, Tensor | None, Tensor | None]: ...


@dataclass(frozen=True)
class Batch:
    """``pixels`` float codes 0..255 [B, 3, H, W]; ``labels`` uint8, ``depth`` metres [B, H, W].

    ``left`` [B]: column of patches at which a picture of half the width begins; None where they are whole.
    """

    pixels: Tensor
    labels: Tensor | None
    depth: Tensor | None
    left: Tensor | None = None


class SceneSource:
    """The first ``count`` scenes of a series, rendered into ``folder`` where they are not there yet."""

    def __init__(self, folder: Path, count: int, seed: int, height: int, width: int, **options):
        self.count = count
        self.chunks = cache.cached(folder, count, seed, height, width, **options)

    def __len__(self) -> int:
        return self.count

    def item(self, index: int):
        chunk, place = divmod(index, cache.CHUNK)
        pixels, depth = (np.load(path, mmap_mode="r")[place] for path in self.chunks[chunk])
        pixels = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        depth = torch.from_numpy(depth.astype(np.float32) * np.float32(DEPTH_STEP))
        return pixels[:3], pixels[3], depth


class FolderSource:
    """All pictures of a folder, resized to ``height`` x ``width`` and kept in memory."""

    def __init__(self, folder: Folder, height: int, width: int, report=lambda done, total, what: None):
        self.items = []
        for i in range(len(folder)):
            sample = folder.read(i).at_size(height, width)
            label, depth = (None if m is None else torch.from_numpy(m.copy()) for m in (sample.label, sample.depth))
            self.items.append((torch.from_numpy(sample.image).permute(2, 0, 1), label, depth))
            report(i + 1, len(folder), "pictures")

    def __len__(self) -> int:
        return len(self.items)

    def item(self, index: int):
        return self.items[index]


def batch_of(source: Source, recipe: Recipe, step: int, rank: int = 0, size: int = 1) -> Batch:
    """The augmented batch of a step, or the share of worker ``rank`` of ``size``.

    Every picture occurs once before any occurs again.
    """
    numbers = list(enumerate(_order(len(source), recipe, step)))[rank::size]
    generators = [np.random.default_rng([recipe.seed, step, place]) for place, _ in numbers]
    items = [_augmented(source.item(index), recipe, rng)
             for (_, index), rng in zip(numbers, generators, strict=True)]
    if step >= recipe.halves * recipe.steps:
        return _stacked(items)
    columns = items[0][0].shape[-1] // PATCH
    left = [int(rng.integers(columns - columns // 2 + 1)) for rng in generators]
    items = [tuple(None if m is None else m[..., first * PATCH:(first + columns // 2) * PATCH] for m in item)
             for item, first in zip(items, left, strict=True)]
    return replace(_stacked(items), left=torch.tensor(left))


def plain_batch(source: Source, first: int, count: int) -> Batch:
    """Consecutive pictures as they are."""
    batch = _stacked([source.item(i) for i in range(first, min(first + count, len(source)))])
    return Batch(batch.pixels.float(), batch.labels, batch.depth)


def _stacked(items: list) -> Batch:
    images, labels, depths = zip(*items, strict=True)
    return Batch(torch.stack(images), None if labels[0] is None else torch.stack(labels),
                 None if depths[0] is None else torch.stack(depths))


def _order(size: int, recipe: Recipe, step: int) -> list[int]:
    """Numbers of a step's pictures: consecutive ones of an endless series of permutations."""
    wanted = range(step * recipe.batch, (step + 1) * recipe.batch)
    shuffled = {epoch: np.random.default_rng([recipe.seed, 7, epoch]).permutation(size)
                for epoch in {i // size for i in wanted}}
    return [int(shuffled[i // size][i % size]) for i in wanted]


def _augmented(item, recipe: Recipe, rng: np.random.Generator):
    image, label, depth = item
    height, width = image.shape[1:]
    zoom = rng.uniform(1, recipe.zoom) if rng.random() < 0.5 else 1.0
    rows, columns = round(height / zoom), round(width / zoom)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    flip, image = bool(rng.random() < 0.5), image.float()
    if zoom > 1:
        window = slice(top, top + rows), slice(left, left + columns)
        image = _resized(image[(slice(None), *window)][None], height, width, "bilinear")[0]
        label = None if label is None else _resized(label[window][None, None], height, width, "nearest")[0, 0]
        depth = None if depth is None else _resized(depth[window][None, None], height, width, "nearest")[0, 0]
    if flip:
        image = image.flip(-1)
        label, depth = (None if m is None else m.flip(-1) for m in (label, depth))
    return _coloured(image, recipe.jitter, rng), label, depth


def _coloured(image: Tensor, jitter: float, rng: np.random.Generator) -> Tensor:
    """Random brightness, contrast and white balance, codes 0..255."""
    gain = torch.tensor(rng.uniform(1 - jitter, 1 + jitter) * rng.uniform(1 - jitter / 2, 1 + jitter / 2, 3)).float()
    contrast, middle = float(rng.uniform(1 - jitter, 1 + jitter)), 110.0
    return ((image * gain[:, None, None] - middle) * contrast + middle).clamp(0, 255)


def _resized(maps: Tensor, height: int, width: int, mode: str) -> Tensor:  # [1, C, h, w] -> [1, C, height, width]
    if maps.shape[2:] == (height, width):
        return maps
    options = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(maps, (height, width), mode=mode, **options)


