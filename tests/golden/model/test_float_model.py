# SPDX-License-Identifier: Apache-2.0
"""The float model against the published reference and against a second evaluation, token by token, in numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.model.float_model import M3ViT, classify_float, route, run_float, to_pixels
from golden.model.reference_data import VARIABLE, reference_folder, reference_image, reference_output
from golden.model.synthetic import synthetic_model
from golden.spec.activations import ACTIVATIONS
from golden.spec.model import DEIT_SMALL, NANO, ConfigError, GateKind
from host.importers import import_checkpoint

SMALL_DEIT = replace(DEIT_SMALL, name="deit", image_height=32, image_width=48, dim=64, depth=2, heads=2, mlp_hidden=96,
                     classes=10)
CASES = {
    "edge_moe_gate": NANO,
    "renormalised_gate": replace(NANO, gate=GateKind.TOPK_THEN_SOFTMAX, top_k=3),
    "all_experts_chosen": replace(NANO, top_k=4),
    "all_blocks_moe": replace(NANO, moe_layers=(0, 1), tasks=("only",), eps=1e-5),
    "distilled_classifier": SMALL_DEIT,
    **{name: replace(NANO, activation=name) for name in ACTIVATIONS},
    "windows": replace(NANO, depth=3, extra_tokens=0, window=2, window_layers=(0, 2)),
    "windows_that_are_no_squares_of_the_grid": replace(NANO, image_width=72, image_height=24, extra_tokens=0, window=3,
                                                       window_layers=(1,), moe_layers=()),
    "deep_prompts": replace(NANO, depth=3, extra_tokens=4, prompts=3, prompt_layers=(1, 2)),
    "prompts_of_one_layer_of_a_classifier": replace(SMALL_DEIT, extra_tokens=7, prompts=2, prompt_layers=(1,)),
    "plain_classifier": replace(SMALL_DEIT, extra_tokens=1, pixel_scale=256.0),
}


def random_images(config, count=2, seed=0):
    shape = (count, config.image_height, config.image_width, config.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def numpy_network(model, image, task):
    """Residual stream and class scores of one image in float64, written from the definitions, one token at a time."""
    c = model.config
    w = {name: array.astype(np.float64) for name, array in model.tensors.items()}

    def norm(name, row):
        deviation = math.sqrt(((row - row.mean()) ** 2).mean() + c.eps)
        return (row - row.mean()) / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]

    def activation(row):
        return np.array([ACTIVATIONS[c.activation].exact(value) for value in row])

    def softmax(row):
        e = np.exp(row - row.max())
        return e / e.sum()

    rows = [w["pos_embed"][t] for t in range(c.extra_tokens)]
    for top in range(0, c.image_height, c.patch):
        for left in range(0, c.image_width, c.patch):
            inputs = [(image[top + y, left + x, channel] / c.pixel_scale - c.pixel_mean[channel])
                      / c.pixel_std[channel]
                      for channel in range(c.channels) for y in range(c.patch) for x in range(c.patch)]
            rows.append(w["patch_embed.weight"] @ inputs + w["patch_embed.bias"] + w["pos_embed"][len(rows)])
    stream = np.stack(rows)

    def seen(i, t):
        """Which tokens token ``t`` sees in block ``i``."""
        if i not in c.window_layers:
            return np.arange(c.tokens)
        place = [(u // c.grid[1] // c.window, u % c.grid[1] // c.window) for u in range(c.tokens)]
        return np.array([u for u in range(c.tokens) if place[u] == place[t]])

    for i in range(c.depth):
        b, d = f"blocks.{i}.", c.head_dim
        for row in range(c.prompts if i in c.prompt_layers else 0):
            stream[c.extra_tokens - c.prompts + row] = w[f"{b}prompts"][row]
        qkv = np.stack([w[f"{b}attn.qkv.weight"] @ norm(f"{b}norm1", row) + w[f"{b}attn.qkv.bias"] for row in stream])
        q, k, v = qkv[:, :c.dim], qkv[:, c.dim:2 * c.dim], qkv[:, 2 * c.dim:]
        mixed = np.zeros_like(stream)
        for head in range(c.heads):
            part = slice(head * d, head * d + d)
            for t in range(c.tokens):
                near = seen(i, t)
                mixed[t, part] = softmax(k[near, part] @ q[t, part] / math.sqrt(d)) @ v[near, part]
        stream = stream + mixed @ w[f"{b}attn.proj.weight"].T + w[f"{b}attn.proj.bias"]
        for t in range(c.tokens):
            z = norm(f"{b}norm2", stream[t])
            names, scores = [...], [1.0]
            if c.is_moe(i):
                logits = w[f"{b}gate.{task}.weight"] @ z + w[f"{b}gate.{task}.bias"]
                names = sorted(range(c.experts), key=lambda e: (-logits[e], e))[:c.top_k]
                scores = softmax(logits)[names] if c.gate is GateKind.SOFTMAX_THEN_TOPK else softmax(logits[names])
            for e, score in zip(names, scores, strict=True):
                hidden = activation(w[f"{b}mlp.fc1.weight"][e] @ z + w[f"{b}mlp.fc1.bias"][e])
                stream[t] += score * (w[f"{b}mlp.fc2.weight"][e] @ hidden + w[f"{b}mlp.fc2.bias"][e])
    heads = [name for name in ("head", "head_dist") if f"{name}.weight" in w]
    scores = [w[f"{name}.weight"] @ norm("norm", stream[t]) + w[f"{name}.bias"] for t, name in enumerate(heads)]
    return stream, np.mean(scores, axis=0) if scores else None


@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition_evaluated_in_numpy(case):
    config = CASES[case]
    model, images = synthetic_model(config, seed=3), random_images(config)
    for task in config.tasks:
        wanted = [numpy_network(model, image, task) for image in images]
        with torch.inference_mode():  # same precision: only the order of sums differs
            net = M3ViT(model, torch.float64)
            stream = net(to_pixels(config, images), task)
            np.testing.assert_allclose(stream, np.stack([s for s, _ in wanted]), rtol=0, atol=1e-10)
            if config.classes:
                np.testing.assert_allclose(net.logits(stream), np.stack([y for _, y in wanted]), rtol=0, atol=1e-10)


def test_float32_stays_near_float64():
    model, images = synthetic_model(NANO, seed=1), random_images(NANO)
    with torch.inference_mode():
        wanted = M3ViT(model, torch.float64)(to_pixels(NANO, images)).numpy()
    # 2^-23 of the largest value (40), grown by some tens of roundings
    np.testing.assert_allclose(run_float(model, images), wanted, rtol=0, atol=2e-4)


@pytest.mark.skipif(reference_folder() is None, reason=f"no trained weights here; {VARIABLE} may name their folder")
def test_reproduces_the_published_output():
    folder = reference_folder()
    stream = run_float(import_checkpoint(folder), reference_image(folder), "task0")[0]
    error = (stream - reference_output(folder)).astype(np.float64)
    assert (error ** 2).mean() < 1e-4, f"MSE {(error ** 2).mean():.3g} against the published output, 1e-4 allowed"
    assert np.abs(error).mean() < 5e-3, f"mean absolute error {np.abs(error).mean():.3g}"


@pytest.mark.skipif(reference_folder() is None, reason=f"no trained weights here; {VARIABLE} may name their folder")
def test_the_tasks_choose_different_experts_of_the_trained_network():
    folder = reference_folder()
    model, probe = import_checkpoint(folder), {"task0": {}, "task1": {}}
    for task, seen in probe.items():
        with torch.inference_mode():
            M3ViT(model)(to_pixels(model.config, reference_image(folder)), task, seen)
    hit = [len(probe["task0"][f"blocks.{i}.gate.experts"].unique()) for i in model.config.moe_layers]
    assert hit == [12, 15, 16, 15, 14, 16]
    assert not torch.equal(probe["task0"]["blocks.1.gate.experts"], probe["task1"]["blocks.1.gate.experts"])
    assert torch.equal(probe["task0"]["blocks.0.out"], probe["task1"]["blocks.0.out"])


@pytest.mark.parametrize("kind", GateKind)
def test_equal_logits_go_to_the_lower_index(kind):
    logits = torch.zeros(5, 64)
    logits[1, [7, 3]] = 2.0
    logits[2] = -torch.arange(64).float()
    logits[3] = torch.arange(64).float() // 2
    logits[4, 63] = 1.0
    chosen, scores = route(logits, 2, kind)
    assert chosen.tolist() == [[0, 1], [3, 7], [0, 1], [62, 63], [63, 0]]
    total = scores.sum(-1)
    if kind is GateKind.TOPK_THEN_SOFTMAX:
        torch.testing.assert_close(total, torch.ones(5))
    else:
        torch.testing.assert_close(total[0], torch.tensor(2 / 64))
        assert (total < 1).all()


def test_a_batch_equals_its_images_alone():
    model, images = synthetic_model(NANO), random_images(NANO, 3)
    together = run_float(model, images, "task1")
    for image, stream in zip(images, together, strict=True):
        np.testing.assert_allclose(run_float(model, image, "task1")[0], stream, rtol=0, atol=1e-4)


def test_probe_names_every_stage_of_a_block():
    model, seen = synthetic_model(NANO), {}
    with torch.inference_mode():
        stream = M3ViT(model)(to_pixels(NANO, random_images(NANO, 1)), None, seen)
    stages = {"norm1", "q", "k", "v", "attn.prob", "attn.out", "mid", "norm2", "out"}
    assert {"embed"} | {f"blocks.0.{s}" for s in stages | {"mlp.fc1", "mlp.hidden"}} <= set(seen)
    gate = {"gate.logits", "gate.experts", "gate.scores"}
    assert {f"blocks.1.{s}" for s in stages | gate} <= set(seen)
    assert torch.equal(seen["blocks.1.out"], stream)
    # The queues hold every token top_k times, and the experts' weighted results are what the block added.
    added = torch.zeros_like(stream[0])
    for e in range(NANO.experts):
        if (token := seen.get(f"blocks.1.mlp.tokens.{e}")) is None:
            continue
        place = (seen["blocks.1.gate.experts"][0, token] == e).nonzero()[:, 1]
        score = seen["blocks.1.gate.scores"][0, token, place]
        added.index_add_(0, token, seen[f"blocks.1.mlp.fc2.{e}"] * score[:, None])
    torch.testing.assert_close(seen["blocks.1.mid"][0] + added, stream[0], rtol=0, atol=1e-5)
    queued = sum(len(v) for k, v in seen.items() if ".mlp.tokens." in k)
    assert queued == NANO.top_k * NANO.tokens


@pytest.mark.parametrize("task", ["keys", "a.b", "weight", "0"])
def test_a_task_may_have_any_name(task):
    config = replace(NANO, tasks=("first", task))
    model, other = synthetic_model(config), synthetic_model(NANO)
    other.tensors["blocks.1.gate.task1.weight"][:] = model[f"blocks.1.gate.{task}.weight"]
    images = random_images(config, 1)
    assert np.array_equal(run_float(model, images, task), run_float(other, images, "task1"))


def test_refusals_say_what_was_wanted():
    model = synthetic_model(NANO)
    with pytest.raises(ConfigError, match=r"task must be one of \['task0', 'task1'\], not 'depth'"):
        run_float(model, random_images(NANO), "depth")
    with pytest.raises(ConfigError, match=r"uint8 of shape \(images, 32, 64, 3\), not uint8 \(1, 64, 32, 3\)"):
        run_float(model, np.zeros((64, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match="not float64"):
        run_float(model, np.zeros((32, 64, 3)))
    with pytest.raises(ConfigError, match="no classifier head"):
        classify_float(model, random_images(NANO))
