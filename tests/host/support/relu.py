# SPDX-License-Identifier: Apache-2.0
"""A DeiT-shaped network whose FFNs have ReLU instead of GELU (APHQ-ViT), from timm's file to an integer network."""

import json
from dataclasses import replace

import numpy as np

from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.model.synthetic import synthetic_model
from golden.spec.model import DEIT_TINY
from host.importers import import_checkpoint
from host.quantizer.quantize import quantize
from tests.host.support import layouts
from tests.host.support.checkpoints import save_safe

SHAPE = replace(DEIT_TINY, name="relu", image_height=32, image_width=32, patch=8, dim=64, heads=2, depth=3,
                mlp_hidden=256, classes=10, activation="relu")


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Seeded pictures uint8 [count, height, width, 3] of coarse squares."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)


def imported(folder) -> FloatModel:
    """The seeded network after a way through timm's file and its config.json, in ``folder``."""
    model = layouts.rounded(synthetic_model(SHAPE, seed=11))
    path = save_safe(folder / "model.safetensors", layouts.timm(model))
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_relu", "model_args": {"act_layer": "relu"}}))
    return import_checkpoint(path, heads=SHAPE.heads, name="relu")


def quantized(model: FloatModel, plan: str, **options) -> IntModel:
    return quantize(model, pictures(8), plan, **options)
