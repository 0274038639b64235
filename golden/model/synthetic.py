# SPDX-License-Identifier: Apache-2.0
"""Synthetic float weights: seeded, with the statistics of trained ones, for networks without a checkpoint.

The features that make trained weights hard to quantize are reproduced; sizes are those measured on a trained M3ViT-Tiny
(dim 192), weights scaled by ``sqrt(192 / dim)`` so that activations keep their size:

* a few channels of the residual stream carry large constants that grow with depth (to about -30 and +15), and
  the norms' gains are small there;
* one block's norm2 has gains near 12 and fc1 weights to match: its gate is nearly one-hot, other blocks' are not;
* key biases reach tens in the last blocks; heads differ in sharpness;
* experts differ in popularity, and some are not chosen at all.
"""

import zlib
from dataclasses import replace

import numpy as np

from golden.files.errors import UnsupportedModel
from golden.model.params import FloatModel, float_schema
from golden.spec.model import GateKind, ModelConfig

OUTLIERS = (-23.0, 12.0, -9.0, 7.0)
"""Constants that the residual stream's outlier channels reach in the last block."""

LOUD_GAIN, USUAL_GAIN = 12.0, 2.0
"""Mean gain of norm2 in the one block with large gains, and in the others."""


def synthetic_model(config: ModelConfig, seed: int = 0) -> FloatModel:
    """A network of ``config`` with float32 weights that depend on ``seed`` and each tensor's name only.

    The residual stream stays within about +-45 and no attention head is uniform or one-hot throughout.
    """
    shapes = float_schema(config)
    tensors = {name: np.empty(0) for name in shapes}
    tensors |= _embedding(config, seed)
    outliers = _outlier_channels(config, seed)
    for i in range(config.depth):
        tensors |= _block(config, i, seed, outliers, shapes)
    for norm in ("norm", "fc_norm"):
        if f"{norm}.weight" in shapes:
            tensors |= _norm(norm, config.dim, 1.2, seed, outliers)
    for head in ("head", "head_dist"):
        if f"{head}.weight" in shapes:
            tensors[f"{head}.weight"] = _normal(seed, f"{head}.weight", shapes, 0.05 * _shrink(config.dim))
            tensors[f"{head}.bias"] = _normal(seed, f"{head}.bias", shapes, 0.1)
    for head in config.task_heads:
        tensors |= _task_head(f"heads.{head.task}.", seed, shapes)
    return FloatModel(config, {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()})


def upcycle(dense: FloatModel, experts: int, top_k: int, *, moe_layers: tuple[int, ...] | None = None,
            gate: GateKind = GateKind.TOPK_THEN_SOFTMAX, tasks: tuple[str, ...] = ("task0", "task1"),
            seed: int = 0) -> FloatModel:
    """The dense network with every FFN of ``moe_layers`` (default: odd blocks) copied into each of its experts.

    Gates are random. With gate weights that sum to 1, the default, the output equals the dense network's whatever the
    gates choose. Raises :class:`UnsupportedModel` where the network has experts already.
    """
    old = dense.config
    if old.moe_layers:
        raise UnsupportedModel(f"Only a dense network can be upcycled; {old.name!r} has experts in {old.moe_layers}.")
    layers = tuple(range(1, old.depth, 2)) if moe_layers is None else tuple(moe_layers)
    new = replace(old, name=f"{old.name}-upcycled", moe_layers=layers, experts=experts, top_k=top_k,
                  expert_hidden=old.mlp_hidden, gate=gate, tasks=tasks)
    shapes, tensors = float_schema(new), {}
    for name, shape in shapes.items():
        if ".gate." in name:
            scale = 0.05 * _shrink(new.dim) if name.endswith("weight") else 0.0
            tensors[name] = _normal(seed, name, shapes, scale).astype(np.float32)
        elif len(shape) > dense[name].ndim:
            tensors[name] = np.repeat(dense[name][None], experts, axis=0)
        else:
            tensors[name] = dense[name].copy()
    return FloatModel(new, tensors)


def _task_head(prefix: str, seed: int, shapes: dict) -> dict[str, np.ndarray]:
    """Layer norm, and convolutions that keep the size of what passes through them and ReLU."""
    dim = shapes[f"{prefix}norm.weight"][0]
    tensors = {f"{prefix}norm.weight": 1 + 0.2 * _rng(seed, f"{prefix}norm.weight").standard_normal(dim),
               f"{prefix}norm.bias": 0.1 * _rng(seed, f"{prefix}norm.bias").standard_normal(dim)}
    for name, shape in shapes.items():
        if name.startswith(f"{prefix}conv_"):
            scale = (2 / np.prod(shape[1:])) ** 0.5 if name.endswith("weight") else 0.1
            tensors[name] = _normal(seed, name, shapes, scale)
    return tensors


def _embedding(c: ModelConfig, seed: int) -> dict[str, np.ndarray]:
    """Patch filters made of low spatial frequencies, as trained ones are; smooth positions; a loud class token."""
    rng = _rng(seed, "patch_embed.weight")
    place, wave = np.arange(c.patch)[:, None] + 0.5, np.arange(c.patch)[None]
    basis = np.cos(np.pi * place * wave / c.patch)  # (pixel, frequency)
    decay = 1 / np.maximum(wave.T + wave, 1) ** 0.5
    decay[0, 0] = 0.15  # photographs have most of their energy in a patch's mean: trained filters nearly ignore it
    amounts = rng.standard_normal((c.dim, c.channels, c.patch, c.patch)) * decay
    filters = np.einsum("dcuv,yu,xv->dcyx", amounts, basis, basis, optimize=True)
    # 0.05 at 768 inputs that lie in [0, 1); inputs divided by a std are as much larger.
    scale = 0.05 / filters.std() * np.sqrt(768 / c.patch_dim) * np.reshape(c.pixel_std, (1, -1, 1, 1))
    filters = np.clip(filters * scale, -0.33, 0.33).reshape(c.dim, -1)
    grey = np.repeat((0.45 - np.array(c.pixel_mean)) / np.array(c.pixel_std), c.patch ** 2)
    rng = _rng(seed, "pos_embed")
    rows, columns = c.image_height // c.patch, c.image_width // c.patch
    y, x = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    phase, frequency = rng.uniform(0, 2 * np.pi, c.dim), rng.uniform(-2, 2, (2, c.dim))
    grid = np.cos(2 * np.pi * (y[..., None] * frequency[0] + x[..., None] * frequency[1]) + phase)
    extra = rng.standard_normal((c.extra_tokens, c.dim)) * 0.8
    extra[:, _outlier_channels(c, seed)[1]] = 10.0
    return {"patch_embed.weight": filters,
            "patch_embed.bias": 0.5 * _rng(seed, "patch_embed.bias").standard_normal(c.dim) - filters @ grey,
            "pos_embed": np.concatenate([extra, 0.9 * grid.reshape(-1, c.dim)])}


def _block(c: ModelConfig, i: int, seed: int, outliers: np.ndarray, shapes: dict) -> dict[str, np.ndarray]:
    b, shrink = f"blocks.{i}.", _shrink(c.dim)
    loud = c.depth > 2 and i == (3 * c.depth) // 4
    late = i >= c.depth - max(1, c.depth // 6)
    gain2 = LOUD_GAIN if loud else USUAL_GAIN
    t = _norm(f"{b}norm1", c.dim, 1.4, seed, outliers) | _norm(f"{b}norm2", c.dim, gain2, seed, outliers)
    if i in c.prompt_layers:
        t[f"{b}prompts"] = _normal(seed, f"{b}prompts", shapes, 0.8)
    qkv = _normal(seed, f"{b}attn.qkv.weight", shapes, 0.052 * shrink).reshape(3, c.heads, c.head_dim, c.dim)
    # A score is a sum over head_dim products divided by its root: its standard deviation grows with the root.
    sharpness = _rng(seed, f"{b}sharpness").uniform(1.0, 2.0, (c.heads, 1, 1)) * (64 / c.head_dim) ** 0.25
    qkv[:2] *= sharpness
    bias = _normal(seed, f"{b}attn.qkv.bias", shapes, 1.0).reshape(3, c.dim)
    bias *= np.array([[0.7], [7.0 if late else 1.2], [0.06]])
    if late:  # one key channel of the trained network lies at 50.9
        bias[1, _rng(seed, f"{b}key outlier").integers(c.dim)] = 48.0
    t[f"{b}attn.qkv.weight"], t[f"{b}attn.qkv.bias"] = qkv.reshape(3 * c.dim, c.dim), bias.reshape(-1)
    t[f"{b}attn.proj.weight"] = _normal(seed, f"{b}attn.proj.weight", shapes, 0.05 * shrink)
    fc1 = 0.05 * shrink * USUAL_GAIN / gain2
    t[f"{b}mlp.fc1.weight"] = _normal(seed, f"{b}mlp.fc1.weight", shapes, fc1)
    t[f"{b}mlp.fc1.bias"] = _normal(seed, f"{b}mlp.fc1.bias", shapes, 0.6) - 0.8  # most neurons are off mostly
    width = 0.045 * np.sqrt(768 / c.ffn_hidden(i)) * (24 / (c.depth + 12)) ** 0.5
    fc2 = _normal(seed, f"{b}mlp.fc2.weight", shapes, width)
    fc2[..., outliers, :] *= np.linspace(2, 1, len(outliers))[:, None]
    t[f"{b}mlp.fc2.weight"] = np.clip(fc2, -1.1, 1.1)
    # The constants arrive in equal parts from proj and fc2, over all blocks, late ones bringing more.
    part = (i + 1) / sum(range(1, c.depth + 1)) / 2
    for linear in ("attn.proj", "mlp.fc2"):
        bias = _normal(seed, f"{b}{linear}.bias", shapes, 0.25)
        share = c.top_k / c.experts if linear == "mlp.fc2" and c.is_moe(i) else 1.0
        bias[..., outliers] = part * np.array(OUTLIERS) * (1.0 if share == 1.0 else 1.5)
        t[f"{b}{linear}.bias"] = bias
    for task in c.tasks if c.is_moe(i) else ():
        t |= _gate(c, f"{b}gate.{task}", seed, t[f"{b}norm2.bias"], shapes)
    return t


def _gate(c: ModelConfig, name: str, seed: int, offset: np.ndarray, shapes: dict) -> dict[str, np.ndarray]:
    """Gate logits with standard deviation about 1.4 over tokens; popularity enters along the norm's offset, which all
    tokens share."""
    weight = _normal(seed, f"{name}.weight", shapes, 0.05 * _shrink(c.dim))
    popularity = 0.8 * _rng(seed, f"{name}.popularity").standard_normal(c.experts)
    weight += np.outer(popularity - weight @ offset, offset) / (offset @ offset)
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(c.experts)}


def _norm(name: str, dim: int, gain: float, seed: int, outliers: np.ndarray) -> dict[str, np.ndarray]:
    rng = _rng(seed, name)
    weight = gain * (1 + 0.22 * rng.standard_normal(dim))
    weight[outliers] *= np.linspace(0.05, 0.3, len(outliers))
    return {f"{name}.weight": weight, f"{name}.bias": 0.25 * gain * rng.standard_normal(dim)}


def _outlier_channels(c: ModelConfig, seed: int) -> np.ndarray:
    return _rng(seed, "outliers").choice(c.dim, len(OUTLIERS), replace=False)


def _shrink(dim: int) -> float:
    return float(np.sqrt(192 / dim))


def _normal(seed: int, name: str, shapes: dict, scale: float) -> np.ndarray:
    """Normal values with slightly heavy tails, as trained weights have: each output row has its own scale."""
    rng, shape = _rng(seed, name), shapes[name]
    values = rng.standard_normal(shape)
    if len(shape) > 1:
        values *= np.exp(0.25 * rng.standard_normal((*shape[:-1], 1)))
    return scale * values


def _rng(seed: int, name: str) -> np.random.Generator:
    """Separate random generator per name, so that another depth or task does not change the other tensors."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
