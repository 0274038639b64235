# SPDX-License-Identifier: Apache-2.0
"""Seeded weights: the same every time, with activations in the range of trained ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.files.errors import UnsupportedModel
from golden.model.float_model import M3ViT, classify_float, run_float, to_pixels
from golden.model.synthetic import synthetic_model, upcycle
from golden.spec.model import DEIT_SMALL, DEIT_TINY, M3VIT_TINY, NANO, GateKind


def images(config, seed=0):
    """Something smooth with edges, white noise, black and white."""
    rng = np.random.default_rng(seed)
    h, w = config.image_height, config.image_width
    y, x = np.mgrid[0:h, 0:w]
    smooth = 128 + 90 * np.sin(x / 17)[..., None] * np.cos(y[..., None] / 23 + np.arange(3))
    smooth[(x + 2 * y) % 97 < 30] *= 0.4
    noise = rng.integers(0, 256, (h, w, 3))
    return np.stack([smooth, noise, np.zeros((h, w, 3)), np.full((h, w, 3), 255)]).astype(np.uint8)


def intermediates(config, seed=0):
    seen = {}
    with torch.inference_mode():
        M3ViT(synthetic_model(config, seed))(to_pixels(config, images(config)), config.tasks[-1], seen)
    return seen


def test_depends_on_the_seed_and_the_names_only():
    first, again, other = synthetic_model(NANO, 5), synthetic_model(NANO, 5), synthetic_model(NANO, 6)
    assert all(np.array_equal(first[name], again[name]) for name in first.tensors)
    assert not np.array_equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])
    three = synthetic_model(replace(NANO, tasks=("task0", "x", "task1")), 5)
    assert np.array_equal(first["blocks.1.gate.task1.weight"], three["blocks.1.gate.task1.weight"])


@pytest.mark.parametrize("config", [NANO, M3VIT_TINY, DEIT_TINY, DEIT_SMALL], ids=lambda c: c.name)
def test_activations_stay_in_the_range_of_trained_ones(config):
    seen = intermediates(config)
    for i in range(config.depth):
        b = f"blocks.{i}."
        peak = seen[f"{b}out"].abs().max().item()
        assert peak < 40, f"residual stream of block {i} reaches {peak:.1f}"
        for name in ("mlp.fc1", "q"):
            if f"{b}{name}" in seen:
                assert seen[f"{b}{name}"].abs().max() < 25, f"{b}{name}"
    assert seen[f"blocks.{config.depth - 1}.out"].abs().max() > 15, "the outlier channels are missing"


def test_attention_is_neither_uniform_nor_one_hot():
    seen = intermediates(M3VIT_TINY)
    for i in range(M3VIT_TINY.depth):
        p = seen[f"blocks.{i}.attn.prob"]
        nats = -(p * (p + 1e-30).log()).sum(-1).mean((0, 2))  # of each head; uniform is ln 129 = 4.86
        assert (nats > 0.3).all() and nats.min() < 4.5, f"entropies in block {i}: {nats.tolist()}"


def test_tokens_and_images_stay_distinct():
    last = intermediates(M3VIT_TINY)["blocks.11.out"]
    assert last[0].std(0).mean() > 0.5, "all tokens of an image have become alike"
    assert (last[0] - last[1]).abs().mean() > 0.3, "different images have become alike"


def test_weights_are_as_hard_as_measured_ones():
    model = synthetic_model(M3VIT_TINY)
    keys = max(np.abs(model[f"blocks.{i}.attn.qkv.bias"]).max() for i in range(12))
    assert 40 < keys < 60, f"largest qkv bias {keys:.1f}; the trained network has 50.9"
    gains = [model[f"blocks.{i}.norm2.weight"].mean() for i in range(12)]
    assert max(gains) > 10 and sorted(gains)[-2] < 3, "one norm2 is loud, the others are not"
    assert np.abs(model["patch_embed.weight"]).max() <= 0.33


def test_routing_is_uneven():
    seen = intermediates(M3VIT_TINY)
    for i in M3VIT_TINY.moe_layers:
        queue = seen[f"blocks.{i}.gate.experts"][0].flatten().bincount(minlength=16).numpy()
        assert queue.max() > 2 * queue.mean() and (queue > 0).sum() >= 5, f"queues of block {i}: {queue}"


def test_upcycling_changes_nothing_where_gate_weights_sum_to_one():
    config = replace(DEIT_TINY, image_height=32, image_width=32, dim=64, depth=4, heads=2, mlp_hidden=128, classes=10)
    dense = synthetic_model(config, 2)
    moe = upcycle(dense, experts=8, top_k=3, tasks=("a", "b"))
    assert moe.config.moe_layers == (1, 3) and moe["blocks.1.mlp.fc1.weight"].shape == (8, 128, 64)
    for task in moe.config.tasks:
        np.testing.assert_allclose(run_float(moe, images(config), task), run_float(dense, images(config)),
                                   rtol=0, atol=1e-4)
        np.testing.assert_allclose(classify_float(moe, images(config), task), classify_float(dense, images(config)),
                                   rtol=0, atol=1e-4)
    unequal = upcycle(dense, experts=8, top_k=3, gate=GateKind.SOFTMAX_THEN_TOPK)
    assert np.abs(run_float(unequal, images(config)) - run_float(dense, images(config))).max() > 1e-2


def test_upcycling_refuses_a_network_with_experts():
    with pytest.raises(UnsupportedModel, match="Only a dense network"):
        upcycle(synthetic_model(NANO), experts=4, top_k=2)
