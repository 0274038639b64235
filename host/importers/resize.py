# SPDX-License-Identifier: Apache-2.0
"""Resizing of positional embeddings to another image size, as the library of each family does."""

import numpy as np

KINDS = {"bilinear": {"mode": "bilinear"}, "bicubic": {"mode": "bicubic"},
         "bicubic_antialias": {"mode": "bicubic", "antialias": True},
         "bicubic_corners": {"mode": "bicubic", "align_corners": True}}
"""Kinds and how PyTorch calls them: M3ViT's is bilinear, Hugging Face's and Meta's bicubic, timm's has antialias,
torchvision's keeps the corners."""


def resize_positions(rows: np.ndarray, old: tuple[int, int], new: tuple[int, int], kind: str) -> np.ndarray:
    """Patch positions [old rows * old columns, D] as float32 [new rows * new columns, D].

    Pixel centres lie at ``i + 1/2`` (``align_corners=False``), unless the kind says otherwise. Rows of extra
    tokens are not part of ``rows``.
    """
    if old == new:
        return rows.astype(np.float32)
    import torch
    import torch.nn.functional as F

    grid = torch.from_numpy(np.ascontiguousarray(rows, np.float32)).reshape(1, *old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new, **{"align_corners": False} | KINDS[kind])
    return np.ascontiguousarray(grid[0].permute(1, 2, 0).reshape(new[0] * new[1], -1).numpy())
