# SPDX-License-Identifier: Apache-2.0
"""Quantizer: activations far larger than usual keep their accuracy, whatever place they show up in.

Real vision transformers have them: registers and outlier tokens in the residual stream, single channels of a hundred
times the others' size, near one-hot attention.
"""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.float_model import run_float
from golden.model.synthetic import synthetic_model
from golden.spec.activations import ACTIVATIONS
from golden.spec.model import MODELS
from host.quantizer.crops import crops
from host.quantizer.quantize import quantize

NANO = replace(MODELS["nano"], name="large-activations")
HIGH = replace(NANO, name="one-hot", dim=1024, heads=16, depth=1, moe_layers=(), mlp_hidden=512, tasks=("task0",))
TOKEN, CHANNEL = 5, 3


def changed(config, change):
    """A seeded model after ``change`` of its tensors, in place."""
    model = synthetic_model(config, seed=2)
    tensors = {name: tensor.copy() for name, tensor in model.tensors.items()}
    change(tensors)
    return replace(model, tensors=tensors)


def decibels(wanted, came) -> float:
    return 10 * np.log10(np.sum(wanted.astype(float) ** 2) / np.sum((came - wanted) ** 2))


def quality(model, plan="accurate") -> tuple[float, float]:
    """SQNR in dB, all tokens together and all but TOKEN, the medians over unseen pictures and tasks."""
    integer = quantize(model, crops(model.config, 16), plan)
    others, found = np.arange(model.config.tokens) != TOKEN, []
    for image in crops(model.config, 20, seed=9)[14:]:
        for task in model.config.tasks:
            wanted, came = run_float(model, image[None], task)[0], integer.features(image, task)
            found.append((decibels(wanted, came), decibels(wanted[others], came[others])))
    return tuple(np.median(found, axis=0))


def scaled(suffix: str, factor: float, rows=slice(None)):
    """A change that multiplies weight rows of every tensor with that ``suffix``."""
    def change(tensors):
        for name in tensors:
            if name.endswith(suffix):
                tensors[name][rows] *= factor
    return change


@pytest.mark.parametrize("largest", [100, 200, 500])
def test_one_channel_of_one_token_in_the_residual_stream(largest):
    def change(tensors):
        tensors["pos_embed"][TOKEN, CHANNEL] += largest
    whole, others = quality(changed(NANO, change))
    assert whole >= 40 and others >= 40


def test_the_same_network_in_units_of_a_sixteenth():
    """The residual stream has no unit of its own: where all of it is larger, so may its step be."""
    def change(tensors):
        for name in tensors:
            if name.startswith(("patch_embed", "pos_embed")) or "attn.proj" in name or "mlp.fc2" in name:
                tensors[name] *= 16
    model = changed(NANO, change)
    assert quality(replace(model, config=replace(NANO, eps=NANO.eps * 256)))[0] >= 40


def test_a_token_that_is_one_channel():
    """Normalised, that channel has the root of dim, 32: twice what 11 fraction bits of 16 hold."""
    def change(tensors):
        tensors["pos_embed"][TOKEN] = 0
        tensors["pos_embed"][TOKEN, CHANNEL] = 400
    assert quality(changed(HIGH, change))[0] >= 40


@pytest.mark.parametrize("factor", [10, 30, 100])
def test_large_inputs_of_gelu(factor):
    """They reach 60, 180 and 600; 9 fraction bits of 16 end at 64."""
    def change(tensors):
        scaled("fc1.weight", factor)(tensors)
        scaled("fc2.weight", 1 / factor)(tensors)
    assert quality(changed(NANO, change))[0] >= 38


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_large_inputs_of_every_activation(name):
    def change(tensors):
        scaled("fc1.weight", 30)(tensors)
        scaled("fc2.weight", 1 / 30)(tensors)
    assert quality(changed(replace(NANO, activation=name), change))[0] >= 38


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_usual_inputs_of_every_activation(name):
    assert quality(changed(replace(NANO, activation=name), lambda tensors: None))[0] >= 40


@pytest.mark.parametrize("factor, least", [(10, 38), (30, 38), (100, 38)])
def test_large_attention_logits_of_a_head(factor, least):
    """One head attends to single keys, with logits of 180, 550 and 1,800."""
    def change(tensors):
        tensors["blocks.0.attn.qkv.weight"][:NANO.head_dim] *= factor
    assert quality(changed(NANO, change))[0] >= least


@pytest.mark.parametrize("factor", [10, 100])
def test_large_logits_of_the_gates(factor):
    def change(tensors):
        for name in tensors:
            if ".gate." in name:
                tensors[name] *= factor
    assert quality(changed(NANO, change))[0] >= 38
