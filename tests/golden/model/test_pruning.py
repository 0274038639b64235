# SPDX-License-Identifier: Apache-2.0
"""Token pruning of float and integer network: the rule from its definition, the same choice of both, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.model.float_model import M3ViT, run_float, to_pixels
from golden.model.synthetic import synthetic_model
from golden.spec.heads import HeadConfig
from golden.spec.model import DEIT_SMALL, NANO, ConfigError, ModelConfig
from host.quantizer.quantize import quantize
from tests.golden.model.test_float_model import random_images

SHAPE = replace(DEIT_SMALL, name="pruned", image_height=64, image_width=64, patch=8, dim=64, depth=4, heads=2,
                mlp_hidden=128, classes=10)
KEEP = ((1, 40), (3, 21))


def pruned(model, keep=KEEP):
    return replace(model, config=replace(model.config, keep=keep))


def probed(model, images):
    """The stream [B, N, D] of the float network in float64, and its intermediates."""
    probe = {}
    with torch.inference_mode():
        stream = M3ViT(model, torch.float64).eval()(to_pixels(model.config, images), None, probe)
    return stream.numpy(), {name: value.numpy() for name, value in probe.items()}


def test_the_float_network_follows_the_definition():
    """Block after block: attention of all tokens, its result for the kept ones, the FFN of these alone."""
    model, images = synthetic_model(SHAPE, seed=4), random_images(SHAPE)
    whole, (stream, found) = probed(model, images)[1], probed(pruned(model), images)
    assert stream.shape == (2, 23, 64)
    np.testing.assert_array_equal(found["blocks.1.attn.out"], whole["blocks.1.attn.out"])
    for i in range(2):
        paid = whole["blocks.1.attn.prob"][i, :, 0].mean(0)
        best = sorted(range(2, 66), key=lambda n: (-paid[n], n))[:40]
        assert found["blocks.1.kept"][i].tolist() == [0, 1, *sorted(best)]
    np.testing.assert_allclose(found["blocks.1.mid"], np.take_along_axis(
        whole["blocks.1.mid"], found["blocks.1.kept"][..., None], 1), atol=1e-12)
    np.testing.assert_allclose(found["blocks.1.out"], np.take_along_axis(
        whole["blocks.1.out"], found["blocks.1.kept"][..., None], 1), atol=1e-12)  # an FFN sees one token at a time
    assert found["blocks.3.kept"].shape == (2, 23) and found["blocks.3.paid"].shape == (2, 42)


def test_of_equal_scores_the_first_stays():
    model = synthetic_model(SHAPE, seed=4)
    for i in range(SHAPE.depth):
        model.tensors[f"blocks.{i}.attn.qkv.weight"][:] = 0
        model.tensors[f"blocks.{i}.attn.qkv.bias"][:] = 0
    _, found = probed(pruned(model), random_images(SHAPE, 1))
    assert found["blocks.1.kept"][0].tolist() == list(range(42))
    assert found["blocks.3.kept"][0].tolist() == list(range(23))


@pytest.mark.parametrize("plan, apart", [("accurate", 0.1), ("fast", 0.2)])
def test_float_and_integer_network_choose_the_same_tokens_where_scores_are_apart(plan, apart):
    model = synthetic_model(SHAPE, seed=4)
    integer, sharp = quantize(model, list(random_images(SHAPE, 6, seed=1)), plan), 0
    for image in random_images(SHAPE, 4, seed=2):
        _, found = probed(pruned(model), image[None])
        seen = {}
        features = pruned(integer).run(image, trace=seen.__setitem__)
        assert features.shape == (23, 64)
        paid, chosen = found["blocks.1.paid"][0], set(found["blocks.1.kept"][0].tolist())
        border = np.sort(paid[2:])[-40]
        clear = {n for n in range(2, 66) if abs(paid[n] / border - 1) > apart}
        assert {n for n in clear if n in chosen} == clear & set(seen["blocks.1.kept"].tolist())
        sharp += len(clear)
        assert len(chosen & set(seen["blocks.1.kept"].tolist())) >= 38
        assert pruned(integer).logits(features).shape == (2, 10)
    assert sharp > 4 * 30, "Most scores should be apart, or the comparison says little."


def test_experts_serve_the_kept_tokens_only():
    config = replace(NANO, keep=((0, 12),))
    model = synthetic_model(config, seed=2)
    assert run_float(model, random_images(config), "task1").shape == (2, 13, 64)


def test_a_description_comes_back_and_one_without_pruning_is_as_ever():
    config = replace(SHAPE, keep=KEEP)
    assert ModelConfig.from_json(config.to_json()) == config and config.fingerprint != SHAPE.fingerprint
    assert "keep" not in SHAPE.to_json() and ModelConfig.from_json(SHAPE.to_json()) == SHAPE
    assert [config.tokens_after(layer) for layer in (-1, 0, 1, 2, 3)] == [66, 66, 42, 42, 23]
    assert config.last_tokens == 23 and replace(SHAPE, keep=((0, 64),)).macs == SHAPE.macs > config.macs
    with pytest.raises(ConfigError, match="list of pairs"):
        ModelConfig.from_json(SHAPE.to_json() | {"keep": [3]})


@pytest.mark.parametrize("fields, words", [
    ({"keep": ((4, 9),)}, "below depth 4"), ({"keep": ((2, 9), (1, 8))}, "ascending"),
    ({"keep": ((1, 65),)}, "at most"),
    ({"keep": ((1, 20), (2, 21))}, "at most"), ({"keep": ((1, 1),)}, "no fewer than the 2 heads"),
    ({"keep": ((1, 9.0),)}, "ascending"), ({"keep": ((1, 9),), "extra_tokens": 0, "classes": 0}, "this model has none"),
    ({"keep": ((1, 9),), "task_heads": (HeadConfig("default", "depth", 1, 64),)}, "map of all patches")])
def test_refuses_what_cannot_be(fields, words):
    with pytest.raises(ConfigError, match=words):
        replace(SHAPE, **fields)


def test_calibration_refuses_a_pruned_network():
    with pytest.raises(ConfigError, match="edge-moe compile --keep"):
        quantize(pruned(synthetic_model(SHAPE)), list(random_images(SHAPE, 1)), "fast")
