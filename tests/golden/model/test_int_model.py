# SPDX-License-Identifier: Apache-2.0
"""The integer network: its wiring against an unrounded float shadow, routing, named intermediates, speed."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.model.ffn import ACTIVATIONS as TORCH
from golden.model.int_forward import patches
from golden.model.int_model import IntModel, dequantize
from golden.model.random_int_model import random_int_model
from golden.ops.queues import arrivals, fill
from golden.ops.saturation import SaturationCounters
from golden.spec.activations import ACTIVATIONS
from golden.spec.model import M3VIT_TINY, NANO, ConfigError, GateKind
from golden.spec.quantized import Plan

FAST, ACCURATE = Plan.fast(NANO.depth), Plan.accurate(NANO.depth)
CLASSIFIER = replace(NANO, name="nano-classifier", patch=4, image_height=8, image_width=16, moe_layers=(),
                     tasks=("default",), extra_tokens=2, final_norm=True, classes=10)


def image(config, seed=5):
    return np.random.default_rng(seed).integers(
        0, 256, (config.image_height, config.image_width, config.channels), dtype=np.uint8)


class Shadow:
    """The same network on the same parameters in float64: clipped where the contract says, nothing rounded."""

    def __init__(self, model: IntModel):
        self.c, self.plan = model.config, model.plan
        self.t = {name: torch.from_numpy(array.astype(np.float64)) for name, array in model.tensors.items()}

    def linear(self, name, x, expert=None):
        w, b, m = (self.t[f"{name}.{f}"] for f in ("weight", "bias", "multiplier"))
        w, b, m = (w, b, m) if expert is None else (w[expert], b[expert], m[expert])
        return ((x @ w.T + b) * m / 2 ** self.t[f"{name}.shift"]).clamp(-32768, 32767)

    def affine(self, name, x, shift, wide, expert=None):
        gain, offset = self.t[f"{name}.gain"], self.t[f"{name}.offset"]
        gain, offset = (gain, offset) if expert is None else (gain[expert], offset[expert])
        peak = 32768 if wide else 1024
        return ((x * gain + offset) / 2 ** self.t[f"{name}.{shift}"]).clamp(-peak, peak)

    def normalized(self, x):
        return torch.nn.functional.layer_norm(x / 512, x.shape[-1:], eps=self.c.eps) * 2048

    def run(self, pixels, task):
        c, t = self.c, self.t
        x = torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)
        x = torch.nn.functional.unfold(x[None], c.patch, stride=c.patch)[0].T  # [patches, channel, row, column]
        x = torch.cat([torch.zeros(c.extra_tokens, c.dim), self.linear("patch_embed", x)]) + t["pos_embed"]
        for i in range(c.depth):
            b, plan = f"blocks.{i}.", self.plan.layers[i]
            a = self.affine(f"{b}norm1", self.normalized(x), "shift", plan.norm1)
            q, k, v = (self.linear(f"{b}attn.{part}", a) for part in "qkv")
            q, k, v = (y.reshape(-1, c.heads, c.head_dim).transpose(0, 1)
                       for y in (q, k.clamp(-127, 127), v.clamp(-127, 127)))
            scores = q @ k.mT * t[f"{b}attn.score_multiplier"][:, None, None] / 2 ** t[f"{b}attn.score_shift"]
            o = torch.softmax(scores / 256 * np.log(2), -1) @ v * 256
            o = self.affine(f"{b}attn.out", o.transpose(0, 1).reshape(-1, c.dim), "shift2", plan.attn)
            x = x + self.linear(f"{b}attn.proj", o)
            normalized = self.normalized(x)
            z = self.affine(f"{b}norm2", normalized, "shift", plan.norm2)
            x = x + (self.experts(b, normalized, z, task, plan) if c.is_moe(i) else self.ffn(b, z, plan))
        return x

    def ffn(self, b, z, plan, expert=None):
        kind = ACTIVATIONS[self.c.activation]
        g = TORCH[kind.name](self.linear(f"{b}mlp.fc1", z, expert) / 512) * 2.0 ** kind.out_frac(0)
        return self.linear(f"{b}mlp.fc2", self.affine(f"{b}mlp.fc1", g, "shift2", plan.hidden, expert), expert)

    def experts(self, b, normalized, z, task, plan):
        c, t, g = self.c, self.t, f"{b}gate.{task}."
        raw = normalized @ t[f"{g}weight"].T + t[f"{g}bias"]
        logits = raw * t[f"{g}multiplier"] / 2 ** t[f"{g}shift"] / 256 * np.log(2)
        top, chosen = logits.topk(c.top_k)
        weight = torch.softmax(top if c.gate is GateKind.TOPK_THEN_SOFTMAX else logits, -1)
        if c.gate is GateKind.SOFTMAX_THEN_TOPK:
            weight = weight.gather(-1, chosen)
        y = torch.stack([self.ffn(b, z, plan, e) for e in range(c.experts)], 1)  # [N, E, D]
        picked = y.gather(1, chosen[:, :, None].expand(-1, -1, c.dim))
        return (picked * weight[:, :, None] * 65536).sum(1) / 2 ** t[f"{b}mlp.fc2.shift2"]


def relative_error(model, task):
    pixels = image(model.config)
    found, wanted = model.run(pixels, task).astype(float), Shadow(model).run(pixels, task).numpy()
    # A token whose experts changed is another token: the median of the tokens checks the wiring.
    return np.median(np.sqrt(((found - wanted) ** 2).mean(-1) / (wanted ** 2).mean(-1)))


@pytest.mark.parametrize(("config", "plan", "threshold"), [
    (NANO, FAST, 0.05), (NANO, ACCURATE, 0.02),
    (replace(NANO, gate=GateKind.TOPK_THEN_SOFTMAX, top_k=3), ACCURATE, 0.02), (CLASSIFIER, ACCURATE, 0.02),
    *((replace(NANO, activation=name), ACCURATE, 0.02) for name in ACTIVATIONS)])
def test_wiring_against_an_unrounded_shadow(config, plan, threshold):
    """Every operand rounded to 8 (or 16) bits, nothing clipped seriously: an error of percent, of order one when a
    tensor, a token or a task is mixed up."""
    model = random_int_model(config, plan, seed=3)
    for task in config.tasks:
        assert relative_error(model, task) < threshold


def test_the_shadow_notices_a_wrong_task_and_a_wrong_tensor():
    model = random_int_model(NANO, ACCURATE, seed=3)
    pixels = image(NANO)
    shadow = Shadow(model)
    assert np.abs(model.run(pixels, "task0") - shadow.run(pixels, "task1").numpy()).max() > 1000
    shadow.t["blocks.0.attn.k.weight"] = shadow.t["blocks.0.attn.q.weight"]
    assert np.abs(model.run(pixels, "task0") - shadow.run(pixels, "task0").numpy()).max() > 1000


def test_patches_are_ordered_channel_row_column_and_filled_to_16():
    config = replace(NANO, patch=4, image_height=8, image_width=8, channels=3)
    pixels = image(config)
    rows = patches(pixels, config)
    assert rows.shape == (4, 48) and rows.dtype == np.uint8
    assert (rows[1].reshape(3, 4, 4) == pixels[:4, 4:].transpose(2, 0, 1)).all()
    ragged = replace(NANO, patch=14, image_height=28, image_width=14)
    assert patches(image(ragged), ragged).shape == (2, 592) and not patches(image(ragged), ragged)[:, 588:].any()
    assert random_int_model(ragged, FAST).run(image(ragged)).shape == (3, 64)


def traced(model, task=None):
    seen = {}
    model.run(image(model.config), task, seen.__setitem__)
    return seen


def test_named_intermediates():
    seen = traced(random_int_model(NANO, FAST, seed=1))
    dense = {"norm1", "attn.q", "attn.k", "attn.v", "attn.score", "attn.prob", "attn.sum", "attn.mix", "attn.out",
             "attn.residual", "norm2", "mlp.hidden"}
    blocks = {"norm1.exp", "attn.q.exp", "attn.out.exp", "norm2.exp", "mlp.hidden.exp"}
    assert {name for name in seen if name.startswith("blocks.0.")} == {f"blocks.0.{n}" for n in dense | blocks}
    assert {"embed", "blocks.0", "blocks.1", "blocks.1.gate.logits", "blocks.1.gate.experts", "blocks.1.gate.weights",
            "blocks.1.norm2.normalized"} <= set(seen)
    assert seen["blocks.0.norm1"].shape == (NANO.tokens, NANO.dim) and seen["blocks.0.norm1"].dtype == np.int32
    assert seen["blocks.0.norm1.exp"].shape == (NANO.tokens, 2)
    assert seen["blocks.1.gate.weights"].dtype == np.uint16
    wide = traced(random_int_model(NANO, ACCURATE, seed=1))
    assert "blocks.0.norm1.exp" not in wide and "blocks.0.attn.q.exp" in wide


def test_experts_add_their_contributions_in_order_of_arrival():
    model = random_int_model(NANO, FAST, seed=2)
    seen = traced(model)
    x = seen["blocks.1.attn.residual"].astype(int)
    queues = fill(seen["blocks.1.gate.experts"], seen["blocks.1.gate.weights"], NANO.experts)
    order = arrivals(seen["blocks.1.gate.experts"])
    assert order != sorted(order) and {e for e in range(NANO.experts) if f"blocks.1.mlp.out.{e}" in seen} == set(order)
    for e in order:
        queue = queues[e]
        assert (seen[f"blocks.1.mlp.tokens.{e}"] == queue.tokens).all()
        x[queue.tokens] = (x[queue.tokens] + seen[f"blocks.1.mlp.out.{e}"]).clip(-32768, 32767)
    assert (x == seen["blocks.1"]).all()


@pytest.mark.parametrize("favourite", [0, 3])
def test_all_tokens_to_the_same_experts(favourite):
    model = random_int_model(replace(NANO, top_k=1), FAST, seed=2)
    bias = np.where(np.arange(NANO.experts) == favourite, 1 << 36, 0)
    seen = traced(IntModel(model.config, model.plan, model.tensors | {"blocks.1.gate.task0.bias": bias}))
    assert seen[f"blocks.1.mlp.tokens.{favourite}"].tolist() == list(range(NANO.tokens))
    assert sum(name.startswith("blocks.1.mlp.tokens.") for name in seen) == 1


def test_tasks_differ_only_from_their_first_gate_on():
    model = random_int_model(NANO, FAST, seed=1)
    one, two = traced(model, "task0"), traced(model, "task1")
    assert (one["blocks.1.norm2"] == two["blocks.1.norm2"]).all()
    assert (one["blocks.1"] != two["blocks.1"]).any()
    assert (traced(model)["blocks.1"] == one["blocks.1"]).all()


def test_classifier_reads_each_extra_token_with_its_own_head():
    model = random_int_model(CLASSIFIER, Plan.accurate(2), seed=4)
    seen, x = traced(model), model.run(image(CLASSIFIER))
    logits = model.logits(x)
    assert logits.shape == (2, 10) and logits.dtype == np.int16 and (seen["logits"] == logits).all()
    swapped = {name: model.tensors[name.replace("head_dist", "HEAD").replace("head", "head_dist")
                                   .replace("HEAD", "head")] for name in model.tensors}
    other = IntModel(model.config, model.plan, swapped)
    exchanged = np.concatenate([x[1:2], x[:1], x[2:]])
    assert (other.logits(exchanged) == logits[::-1]).all()
    with pytest.raises(ConfigError, match="no classifier head"):
        random_int_model(NANO, FAST).logits(np.zeros((NANO.tokens, 64), np.int16))


def test_little_is_clipped_and_every_exponent_occurs():
    """The saturation of random models: what the machine's benches rely on."""
    model, saturation = random_int_model(M3VIT_TINY, seed=1), SaturationCounters()
    exponents = set()
    model.run(image(M3VIT_TINY), "task1",
              lambda name, a: exponents.update(np.unique(a).tolist()) if name.endswith(".exp") else None, saturation)
    seen = sum(row[3] for row in saturation.table())
    assert 0 < saturation.clipped < 0.02 * seen
    assert exponents == {0, 1, 2, 3}


def test_a_tiny_frame_takes_well_under_a_second():
    model = random_int_model(M3VIT_TINY, seed=1)
    pixels = image(M3VIT_TINY)
    best = min(_timed(lambda: model.run(pixels)) for _ in range(3))
    assert best < 2.5, f"a frame took {best:.2f} s; 0.1 s is usual on one core"


def _timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_random_models_follow_from_their_seed():
    one, same, other = (random_int_model(NANO, FAST, seed) for seed in (1, 1, 2))
    assert all((one[name] == same[name]).all() for name in one.tensors)
    assert any((one[name] != other[name]).any() for name in one.tensors)


def test_dequantize_is_exact():
    assert dequantize(np.array([-32768, 1, 512], np.int16)).tolist() == [-64.0, 2.0 ** -9, 1.0]
