# SPDX-License-Identifier: Apache-2.0
"""Refit of the depth head: it lowers the squared error, finds a disturbed layer again, leaves all else alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.model.float_model import M3ViT
from golden.model.params import FloatModel
from golden.model.synthetic import synthetic_model
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO
from host.training.refit import refit_depth

CONFIG = replace(NANO, tasks=("semseg", "depth"), task_heads=(HeadConfig("semseg", "semseg", 7, channels=32),
                                                             HeadConfig("depth", "depth", 1, channels=32)))


class Answers:
    """Random pictures whose depths are what ``model`` answers, and noise."""

    def __init__(self, model: FloatModel, noise: float):
        rng = np.random.default_rng(1)
        size = CONFIG.image_height, CONFIG.image_width
        self.images = torch.from_numpy(rng.integers(0, 256, (16, 3, *size), dtype=np.uint8))
        network = M3ViT(model).eval()
        with torch.inference_mode():
            maps = network.maps(network(self.images, "depth"), "depth")[:, 0]
        self.depths = maps - maps.min() + 1 + noise * torch.from_numpy(rng.normal(size=maps.shape)).float()

    def __len__(self):
        return len(self.images)

    def item(self, index):
        return self.images[index], None, self.depths[index]


@pytest.fixture(scope="module")
def model():
    return synthetic_model(CONFIG, seed=3)


def rmse(model, source):
    network = M3ViT(model).eval()
    with torch.inference_mode():
        found = network.maps(network(source.images, "depth"), "depth")[:, 0]
    return float((found - source.depths).square().mean().sqrt())


def disturbed(model):
    rng = np.random.default_rng(2)
    weight = model.tensors["heads.depth.conv_4.weight"]
    noise = rng.normal(size=weight.shape).astype(np.float32) * np.abs(weight).mean()
    return FloatModel(CONFIG, model.tensors | {"heads.depth.conv_4.weight": weight + noise})


def test_it_finds_a_disturbed_layer_again(model):
    source, wrong = Answers(model, 0.0), disturbed(model)
    right = refit_depth(wrong, source)
    assert rmse(right, source) < 0.2 * rmse(wrong, source)


def test_noise_is_averaged_out(model):
    source, wrong = Answers(model, 0.5), disturbed(model)
    assert rmse(refit_depth(wrong, source), source) < min(0.6, rmse(wrong, source))


def test_only_the_last_layer_of_depth_changes(model):
    after = refit_depth(model, Answers(model, 0.1))
    changed = {name for name, tensor in model.tensors.items() if not np.array_equal(tensor, after.tensors[name])}
    assert changed == {"heads.depth.conv_4.weight", "heads.depth.conv_4.bias"}
