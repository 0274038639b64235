# SPDX-License-Identifier: Apache-2.0
"""torchvision's ``vit_b_16`` and its kin, under timm's names."""

import re

import numpy as np

from host.importers.facts import Facts
from host.importers.pixels import IMAGENET

ANCHOR = "conv_proj.weight"
"""The tensor that tells the layout."""
_NAMES = {"class_token": "cls_token", "encoder.pos_embedding": "pos_embed"}
_STEMS = {"conv_proj": "patch_embed.proj", "encoder.ln": "norm", "heads.head": "head"}
_PARTS = {"ln_1": "norm1", "ln_2": "norm2", "self_attention.out_proj": "attn.proj",
          "self_attention.in_proj": "attn.qkv", "mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2", "mlp.linear_1": "mlp.fc1",
          "mlp.linear_2": "mlp.fc2"}
_BLOCK = re.compile(r"encoder\.layers\.encoder_layer_(\d{1,6})\.(.+)[._](weight|bias)")
_HEADS = {768: 12, 1024: 16, 1280: 16}
"""Heads of the published widths."""


def as_timm(tensors: dict[str, np.ndarray], facts: Facts, config: dict, preprocessor: dict) -> dict[str, np.ndarray]:
    """Tensors under timm's names, others under their own. Guesses what torchvision's models have."""
    plain = {}
    for name, array in tensors.items():
        stem, _, kind = name.rpartition(".")
        if (match := _BLOCK.fullmatch(name)) and match[2] in _PARTS:
            plain[f"blocks.{match[1]}.{_PARTS[match[2]]}.{match[3]}"] = array
        elif stem in _STEMS:
            plain[f"{_STEMS[stem]}.{kind}"] = array
        else:
            plain[_NAMES.get(name, name)] = array
    width = tensors[ANCHOR].shape[:1]
    facts.guess("as torchvision's models have it", heads=_HEADS.get(*width) if width else None, activation="gelu",
                eps=1e-6, resize="bicubic_corners", **IMAGENET)
    return plain
