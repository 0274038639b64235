# SPDX-License-Identifier: Apache-2.0
"""Losses of the kinds of task heads, on maps [B, M, H, W] and what they should be."""

import torch
import torch.nn.functional as F
from torch import Tensor

from host.scenes.classes import IGNORE


def semseg_loss(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of class scores and labels [B, H, W], without pixels whose label is 255; ``weights`` of classes."""
    return F.cross_entropy(scores.float(), labels.long(), weights, ignore_index=IGNORE)


def class_weights(counts: Tensor, power: float) -> Tensor:
    """Weight of each class: (mean count / count) ** power, at most 4; 0 for a class that does not occur.

    >>> class_weights(torch.tensor([1, 4, 16, 0]), 0.5).tolist()
    [2.6457512378692627, 1.3228756189346313, 0.6614378094673157, 0.0]
    """
    there = counts > 0
    mean = counts[there].double().mean()
    return torch.where(there, (mean / counts.clamp(min=1)) ** power, 0).clamp(max=4).float()


def depth_loss(depth: Tensor, target: Tensor, unit: float) -> Tensor:
    """Mean of |e| + e^2 over pixels with a valid depth (above 0).

    ``depth`` [B, 1, H, W] and ``target`` [B, H, W], metres, are compared in units of ``unit`` metres; ``depth`` is in
    that unit already.
    """
    valid = (target > 0).float()
    error = (depth.float()[:, 0] - target / unit) * valid
    return (error.abs() + error.square()).sum() / valid.sum().clamp(min=1)


def balanced(outputs: dict[str, Tensor], labels: Tensor | None, depth: Tensor | None, kinds: dict[str, str],
             unit: float, stride: int = 1, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Loss of each task, by name; all count the same. Every ``stride``-th row and column counts, from a random one.

    ``weights`` are those of the classes of labels.
    """
    row, column = torch.randint(stride, (2,)).tolist()
    labels, depth = (None if m is None else m[:, row::stride, column::stride] for m in (labels, depth))
    losses = {}
    for task, whole in outputs.items():
        maps = whole[:, :, row::stride, column::stride]
        if kinds[task] == "semseg" and labels is not None:
            losses[task] = semseg_loss(maps, labels, weights)
        elif kinds[task] == "depth" and depth is not None:
            losses[task] = depth_loss(maps, depth, unit)
    return losses


def normalised(pixels: Tensor, mean, std, scale: float) -> Tensor:
    """Codes uint8 or float [B, C, H, W] as the network's inputs."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (mean, std))
    return (pixels.float() / scale - mean) / std
