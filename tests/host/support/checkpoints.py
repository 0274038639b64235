# SPDX-License-Identifier: Apache-2.0
"""Checkpoints for the importers: small models, files in which they are saved, and what must come back."""

from dataclasses import replace

import numpy as np
import torch

from golden.files import safetensors_file
from golden.model.synthetic import synthetic_model
from golden.spec.model import DEIT_TINY, ModelConfig
from tests.host.support import layouts

MOE = ModelConfig(name="moe", image_height=64, image_width=96, dim=64, depth=4, heads=2, mlp_hidden=128,
                  moe_layers=(1, 3), experts=4, expert_hidden=64, top_k=2, pixel_scale=255.0)
IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
HALF = {"pixel_mean": (0.5,) * 3, "pixel_std": (0.5,) * 3}
DEIT = replace(DEIT_TINY, name="deit", image_height=64, image_width=64, dim=64, depth=3, heads=2, mlp_hidden=128,
               classes=10)
DISTILLED = replace(DEIT, extra_tokens=2)
GIVEN = {"heads": 2, "top_k": 2, "image": (64, 96)}


def made(config, seed=1):
    return layouts.rounded(synthetic_model(config, seed))


def save_pth(path, state, **around):
    """A .pth of tensors; ``around`` puts the state dict under a name among other entries."""
    state = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    wrapped = {key: state if value is ... else value for key, value in around.items()}
    torch.save(wrapped or state, path)
    return path


def save_safe(path, state):
    safetensors_file.write(path, state)
    return path


def same(found, wanted, **config):
    """Equal parameters, and the description apart from what ``config`` says; a given name is a file's."""
    assert found.config == replace(wanted.config, name=found.config.name, **config)
    for name, array in wanted.tensors.items():
        assert np.array_equal(found[name], array), f"{name} differs by {np.abs(found[name] - array).max()}"


def with_equal_gates(model):
    tensors = dict(model.tensors)
    for name in tensors:
        if ".gate." in name:
            tensors[name] = tensors[name.replace("task1", "task0")]
    return type(model)(model.config, tensors)
