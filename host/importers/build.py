# SPDX-License-Identifier: Apache-2.0
"""Builds a checked :class:`FloatModel` from tensors under our names: infers the configuration, resizes positions."""

import re
from collections.abc import Iterable

import numpy as np

from golden.files.errors import (
    AmbiguousModel,
    MissingTensor,
    NotFinite,
    UnexpectedTensor,
    UnsupportedModel,
    WrongDtype,
    WrongShape,
)
from golden.model.params import FloatModel
from golden.spec.heads import HeadConfig
from golden.spec.model import ConfigError, GateKind, ModelConfig
from host.importers.facts import Facts
from host.importers.options import Options
from host.importers.pixels import for_channels
from host.importers.positions import extra_rows, split
from host.importers.resize import resize_positions
from host.importers.variants.windows import window_blocks

Tensors = dict[str, np.ndarray]
TOKENS = ("cls_token", "dist_token", "reg_token")
"""Tokens before the patches, in their order; the last may hold several."""


def build(raw: Tensors, facts: Facts, extras: Iterable[int] = (1,), known_images: Iterable[tuple[int, int]] = (),
          task_heads: tuple[HeadConfig, ...] = ()) -> FloatModel:
    """A model from tensors under the names of :func:`golden.model.params.float_schema`, except that

    * ``patch_embed.weight`` is (dim, channels, patch, patch),
    * ``pos_embed`` holds the positions of patches, after rows for as many extra tokens as one of ``extras`` says,
      with or without a leading 1,
    * the tokens :data:`TOKENS` are separate; all absent: their rows of ``pos_embed`` are sums already.

    A classifier ``head`` reads what the option ``pool`` says, by default class tokens; with ``fc_norm`` it is
    normalised after pooling.

    ``known_images`` are image sizes, height x width, that the layout's published models use; ``task_heads``
    are those whose tensors are in ``raw``. What is known and by whom is told to the user. Raises a
    subclass of :class:`ModelFileError`.
    """
    raw = {name: as_float32(name, array) for name, array in raw.items()}
    facts.say()
    patch = need(raw, "patch_embed.weight", 4)
    dim, channels, size, width = patch.shape
    options = for_channels(facts.options, channels)
    if 0 in patch.shape:
        raise WrongShape(f"'patch_embed.weight' must not be empty, as its shape {patch.shape} says.")
    if size != width:
        raise UnsupportedModel(f"Patches must be square, not {size} x {width} ('patch_embed.weight' {patch.shape}).")
    depth = _depth(raw)
    moe = tuple(i for i in range(depth) if need(raw, f"blocks.{i}.mlp.fc1.weight").ndim == 3)
    dense = [raw[f"blocks.{i}.mlp.fc1.weight"] for i in range(depth) if i not in moe]
    hidden = dense[0].shape[0] if dense and dense[0].ndim == 2 else 4 * dim
    experts, expert_hidden, top_k, gate, tasks = 0, 0, 0, GateKind.SOFTMAX_THEN_TOPK, ("default",)
    if moe:
        experts, expert_hidden, _ = raw[f"blocks.{moe[0]}.mlp.fc1.weight"].shape
        top_k = 1 if experts == 1 else options.need("top_k", "how many experts a token uses")
        gate = gate if options.gate is None else options.gate
        tasks = tasks if options.tasks is None else options.tasks
    elif options.tasks:
        tasks = options.tasks
        if len(tasks) > 1:
            raise AmbiguousModel(f"The checkpoint has no gates, so that all tasks are the same; {len(tasks)} names "
                                 f"were given, {', '.join(tasks)}: give one, or leave --tasks out.")
    rows = need(raw, "pos_embed")
    rows = rows[0] if rows.ndim == 3 and rows.shape[0] == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise WrongShape(f"'pos_embed' must have shape (tokens, {dim}), not {raw['pos_embed'].shape}.")
    positions = split(rows, extras, size, options, known_images)
    names = [name for name in TOKENS if name in raw]
    first = extra_rows([raw[name] for name in names], names, positions)
    classes = raw["head.weight"].shape[0] if "head.weight" in raw and raw["head.weight"].ndim else 0
    pool = (options.pool or "class") if classes else "class"
    if len(first) == 2 and pool == "class":
        _second_head(raw)
    image = options.image or (positions.grid[0] * size, positions.grid[1] * size)
    usual = ModelConfig()
    try:
        config = ModelConfig(
            name=options.name or "imported", image_height=image[0], image_width=image[1], patch=size,
            channels=channels, dim=dim, depth=depth, heads=options.need("heads", "the number of attention heads"),
            mlp_hidden=hidden, moe_layers=moe, experts=experts, expert_hidden=expert_hidden, top_k=top_k, gate=gate,
            activation=options.activation or usual.activation, tasks=tasks, extra_tokens=len(first),
            final_norm="norm.weight" in raw,
            classes=classes, pool=pool, fc_norm="fc_norm.weight" in raw,
            task_heads=task_heads, eps=usual.eps if options.eps is None else options.eps,
            pixel_mean=options.pixel_mean or (0.0,) * channels, pixel_std=options.pixel_std or (1.0,) * channels,
            pixel_scale=options.pixel_scale or 255.0, fit=options.fit or usual.fit,
            crop_share=options.crop_share or usual.crop_share,
            interpolation=options.interpolation or usual.interpolation, window=options.window or 0,
            window_layers=window_blocks(facts, depth))
    except ConfigError as error:
        raise UnsupportedModel(f"The tensors and options together describe no model that can run: {error}") from None
    new, kind = (image[0] // size, image[1] // size), options.resize or "bicubic"
    if new != positions.grid:
        facts.resized(positions.grid, new, kind)
    rows = np.concatenate([first, resize_positions(rows[positions.extra:], positions.grid, new, kind)])
    tensors = {name: array for name, array in raw.items() if name not in TOKENS}
    tensors["pos_embed"], tensors["patch_embed.weight"] = rows, patch.reshape(dim, -1)
    return FloatModel(config, {name: array if array.flags.c_contiguous else np.ascontiguousarray(array)
                               for name, array in tensors.items()})  # a scalar would become a vector


def _second_head(raw: Tensors) -> None:
    """Replaces the single head of a model of two extra tokens, which reads the class token only, by two heads whose
    mean is equal: twice the head, and zero.
    """
    if "head.weight" in raw and "head_dist.weight" not in raw:
        for kind in ("weight", "bias"):
            head = need(raw, f"head.{kind}")
            raw[f"head.{kind}"], raw[f"head_dist.{kind}"] = 2 * head, np.zeros_like(head)


def need(raw: Tensors, name: str, ndim: int | None = None) -> np.ndarray:
    """A required tensor, with ``ndim`` dimensions."""
    if name not in raw:
        raise MissingTensor(f"The checkpoint needs a tensor for {name!r}; there is none. Is it of another layout, or "
                            f"cut short?")
    if ndim is not None and raw[name].ndim != ndim:
        raise WrongShape(f"{name!r} must have {ndim} dimensions, not the shape {raw[name].shape}.")
    return raw[name]


def as_float32(name: str, array: np.ndarray) -> np.ndarray:
    """A floating-point tensor as float32; raises :class:`WrongDtype` for others, :class:`NotFinite` where
    it overflows.
    """
    if array.dtype.kind != "f":
        raise WrongDtype(f"{name!r} must hold floating-point numbers, not {array.dtype}.")
    with np.errstate(over="ignore"):
        result = array.astype(np.float32, copy=False)
    if not np.isfinite(result).all():
        raise NotFinite(f"{name!r} holds {int((~np.isfinite(result)).sum())} values that are NaN, infinite or too "
                        f"large for float32.")
    return result


def fold_layer_scale(raw: Tensors, linear: str, gamma: np.ndarray) -> None:
    """Multiply the outputs of ``linear``, in place, by LayerScale's ``gamma``, one factor an output."""
    weight, bias = as_float32(linear, need(raw, f"{linear}.weight", 2)), as_float32(linear, need(raw, f"{linear}.bias"))
    if gamma.shape != weight.shape[:1]:
        raise WrongShape(f"The LayerScale of {linear!r} must have shape {weight.shape[:1]}, not {gamma.shape}.")
    raw[f"{linear}.weight"], raw[f"{linear}.bias"] = weight * gamma[:, None], bias * gamma


def fill_qkv_bias(raw: Tensors) -> None:
    """Adds zero biases where *no* block has one; a bias that only some blocks lack is an error."""
    weights = [name for name in raw if name.endswith(".attn.qkv.weight")]
    if not any(name.endswith(".attn.qkv.bias") for name in raw):
        for name in weights:
            raw[name.replace("weight", "bias")] = np.zeros(raw[name].shape[:1], np.float32)


def task_names(options: Options, count: int) -> tuple[str, ...]:
    """The ``count`` task names given in the options, or task0, task1, ..."""
    if options.tasks is None:
        return tuple(f"task{t}" for t in range(count))
    if len(options.tasks) != count:
        raise AmbiguousModel(f"The checkpoint has gates for {count} tasks, {len(options.tasks)} names were given "
                             f"{options.tasks}: give --tasks with {count} names.")
    return options.tasks


def refuse_unknown(names: Iterable[str], layout: str) -> None:
    """Raise :class:`UnexpectedTensor` unless ``names`` is empty."""
    names = sorted(names)
    if names:
        raise UnexpectedTensor(f"The {layout} checkpoint has tensors without a place in the model: {names[:5]}"
                               f"{' and others' if len(names) > 5 else ''}.")


def _depth(raw: Tensors) -> int:
    """Number of blocks; their indices must be 0, 1, ... without a gap (a single huge index must not
    allocate memory).
    """
    found = {int(m[1]) for name in raw if (m := re.match(r"blocks\.(\d{1,9})\.", name))}
    for i in range(len(found)):
        if i not in found:
            raise MissingTensor(f"The checkpoint has blocks up to {max(found)}, but none of block {i}.")
    if not found:
        raise MissingTensor("The checkpoint has no transformer block.")
    return len(found)
