# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's ViTDet, under timm's names; :mod:`host.importers.variants.windows` has read its configuration."""

import re

import numpy as np

from host.importers.facts import Facts

ANCHOR = "encoder.layer.0.attention.qkv.weight"
"""The tensor that tells the layout."""
_TOP = {"embeddings.position_embeddings": "pos_embed", "embeddings.projection.weight": "patch_embed.proj.weight",
        "embeddings.projection.bias": "patch_embed.proj.bias"}
_BLOCK = re.compile(r"encoder\.layer\.(\d{1,6})\.(attention\.|)(.+)")


def as_timm(tensors: dict[str, np.ndarray], facts: Facts, config: dict, preprocessor: dict) -> dict[str, np.ndarray]:
    """Tensors under timm's names, others under their own."""
    plain = {}
    for name, array in tensors.items():
        match = _BLOCK.fullmatch(name)
        plain[f"blocks.{match[1]}.{'attn.' if match[2] else ''}{match[3]}" if match else _TOP.get(name, name)] = array
    return plain
