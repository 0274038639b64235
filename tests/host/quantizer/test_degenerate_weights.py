# SPDX-License-Identifier: Apache-2.0
"""Quantizer: weights of zeros, pruned rows, constant inputs and tensors that are all one value quantize well."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.float_model import run_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import MODELS, ConfigError
from host.quantizer.crops import crops
from host.quantizer.quantize import quantize
from tests.host.quantizer.test_large_activations import changed, decibels

NANO = replace(MODELS["nano"], name="degenerate")
DIM = NANO.dim


def pruned(name: str, rows, bias: float = 0.0):
    def change(tensors):
        tensors[f"{name}.weight"][rows] = 0
        tensors[f"{name}.bias"][rows] = bias
    return change


def filled(*names: str, value: float = 0.0):
    def change(tensors):
        for name in names:
            tensors[name][...] = value
    return change


CHANGES = {
    "a pruned row with a bias, of a projection": pruned("blocks.0.attn.proj", 3, 20),
    "a pruned row with a bias, of the patch embedding": pruned("patch_embed", 3, 20),
    "a pruned row with a small bias": pruned("blocks.0.attn.proj", 3, 1e-3),
    "V of zeros": pruned("blocks.0.attn.qkv", slice(2 * DIM, 3 * DIM)),
    "Q of zeros": pruned("blocks.0.attn.qkv", slice(0, DIM)),
    "K of zeros": pruned("blocks.0.attn.qkv", slice(DIM, 2 * DIM)),
    "Q of one head": pruned("blocks.0.attn.qkv", slice(0, NANO.head_dim)),
    "an attention of zeros": pruned("blocks.0.attn.qkv", slice(None)),
    "fc1 of zeros": pruned("blocks.0.mlp.fc1", slice(None)),
    "fc1 of zeros with a bias": pruned("blocks.0.mlp.fc1", slice(None), 1.0),
    "fc2 of zeros": pruned("blocks.0.mlp.fc2", slice(None)),
    "neurons that are never active": pruned("blocks.0.mlp.fc1", slice(0, 64), -30.0),
    "a norm's gain of zeros": filled("blocks.0.norm1.weight"),
    "a norm's gain and bias of zeros": filled("blocks.0.norm1.weight", "blocks.0.norm1.bias"),
    "both norms of zeros": filled("blocks.0.norm1.weight", "blocks.0.norm2.weight"),
    "the MoE's norm of zeros": filled("blocks.1.norm2.weight"),
    "one expert of zeros": lambda t: [t[f"blocks.1.mlp.{n}"].__setitem__(2, 0) for n in
                                      ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")],
    "gates of zeros": filled(*(f"blocks.1.gate.{task}.{part}" for task in NANO.tasks for part in ("weight", "bias"))),
    "all tokens equal": filled("patch_embed.weight", "pos_embed"),
    "all tokens zero": filled("patch_embed.weight", "patch_embed.bias", "pos_embed"),
    "tiny weights": lambda t: [t[n].__imul__(np.float32(1e-12)) for n in ("blocks.0.attn.proj.weight",
                                                                          "blocks.0.mlp.fc2.weight")],
    "huge and tiny rows side by side": lambda t: t["blocks.0.mlp.fc2.weight"].__imul__(
        np.float32(10.0) ** np.linspace(-8, 0, DIM, dtype=np.float32)[:, None]),
}


@pytest.mark.parametrize("plan, least", [("fast", 24), ("accurate", 30)])
@pytest.mark.parametrize("what", CHANGES)
def test_degenerate_weights_quantize(what, plan, least):
    model = changed(NANO, CHANGES[what])
    integer = quantize(model, crops(NANO, 8), plan)
    found = []
    for image in crops(NANO, 20, seed=9)[16:]:
        for task in NANO.tasks:
            wanted, came = run_float(model, image[None], task)[0], integer.features(image, task)
            found.append(decibels(wanted, came) if wanted.any() else np.inf if not came.any() else -np.inf)
    assert np.median(found) >= least


def test_a_constant_picture_and_equal_pictures():
    model = synthetic_model(NANO, seed=2)
    grey = np.full((NANO.image_height, NANO.image_width, 3), 128, np.uint8)
    integer = quantize(model, [grey] * 3)
    assert decibels(run_float(model, grey[None], "task0")[0], integer.features(grey, "task0")) >= 24


def test_pictures_of_another_size_are_refused_by_number():
    model, (first, second) = synthetic_model(NANO, seed=2), crops(NANO, 2)
    with pytest.raises(ConfigError, match=r"Calibration wants uint8 images of shape \(32, 64, 3\); image 1 is uint8 of "
                                          r"shape \(16, 64, 3\). Crop and resize it first"):
        quantize(model, [first, second[:16]])
    with pytest.raises(ConfigError, match="image 0 is float64"):
        quantize(model, [first / 255])
    with pytest.raises(ConfigError, match="at least one uint8 image"):
        quantize(model, [])
