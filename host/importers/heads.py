# SPDX-License-Identifier: Apache-2.0
"""Importer of M3ViT's task heads: ``decoders.<task>.*`` or, with one task, ``decoder.*``; BatchNorm is folded."""

import re

import numpy as np

from golden.files.errors import AmbiguousModel, MissingTensor, UnsupportedModel, WrongShape
from golden.spec.heads import HEAD_KINDS, WINDOWS, HeadConfig, HeadError
from host.importers.build import Tensors, as_float32, need
from host.importers.options import Options

KINDS = {"semseg": "semseg", "human_parts": "semseg", "depth": "depth", "edge": "edge", "sal": "saliency",
         "saliency": "saliency", "normals": "normals"}
"""M3ViT's names of tasks and the kinds of their heads."""

BATCH_NORM_EPS = 1e-5
_HEAD = re.compile(r"decoder(?:s\.([^.]+))?\.(.+)")


def take_heads(tensors: Tensors, options: Options) -> tuple[Tensors, tuple[HeadConfig, ...]]:
    """Removes the heads' tensors from ``tensors``; returns them under our names, and what they are.

    Heads come in the order in which the checkpoint names them, or in that of the option ``tasks``. Those of a
    checkpoint with a single ``decoder`` have the name of its task, or of its kind.
    """
    found: dict[str | None, Tensors] = {}
    for name in list(tensors):
        if match := _HEAD.fullmatch(name):
            found.setdefault(match[1], {})[match[2]] = tensors.pop(name)
    if options.backbone_only:
        return {}, ()
    chosen, raw, heads = dict(_kind_given(text) for text in options.head_kinds or ()), {}, []
    for task in _ordered(list(found), options):
        parts = found[task]
        classes = need(parts, f"conv_{WINDOWS}.weight", 4).shape[0]
        name = task or (options.tasks[0] if options.tasks and len(options.tasks) == 1 else None)
        kind = chosen.get(name or "decoder") or KINDS.get(name or "") or ("semseg" if classes > 3 else None)
        if kind is None:
            name = name or "decoder"
            raise AmbiguousModel(f"The checkpoint does not tell what the {classes} maps of head {name!r} are: give "
                                 f"--head-kinds {name}=KIND, one of {', '.join(HEAD_KINDS)}.")
        name = name or kind
        try:
            heads.append(HeadConfig(name, kind, classes, need(parts, f"conv_{WINDOWS}.weight").shape[1]))
        except HeadError as error:
            raise UnsupportedModel(str(error)) from None
        raw |= {f"heads.{name}.{part}": array for part, array in _folded(name, parts).items()}
    return raw, tuple(heads)


def _ordered(tasks: list[str | None], options: Options) -> list[str | None]:
    if options.tasks and set(options.tasks) == set(tasks):
        return list(options.tasks)
    return tasks


def _kind_given(text: str) -> tuple[str, str]:
    task, mark, kind = text.partition("=")
    if not mark or kind not in HEAD_KINDS:
        raise AmbiguousModel(f"A kind of head is given as TASK=KIND with KIND one of {', '.join(HEAD_KINDS)}, not "
                             f"{text!r}.")
    return task, kind


def _folded(task: str, parts: Tensors) -> Tensors:
    """The parts of one head under our names, each BatchNorm folded into the convolution before it."""
    parts = {part: array for part, array in parts.items() if not part.endswith(".num_batches_tracked")}
    raw = {}
    for part in ("norm.weight", "norm.bias", *(f"conv_{i}.{kind}" for i in range(WINDOWS + 1)
                                               for kind in ("weight", "bias"))):
        if part not in parts:
            raise MissingTensor(f"Head {task!r} needs a tensor {part!r}; there is none. Only M3ViT's up-sampling head "
                                f"is supported; --backbone-only leaves all heads out.")
        raw[part] = as_float32(part, parts.pop(part))
    for i in range(WINDOWS):
        norm = f"syncbn_fc_{i}."
        if any(part.startswith(norm) for part in parts):
            raw |= _fold(raw, f"conv_{i}", {key: as_float32(norm + key, need(parts, norm + key, 1)) for key in (
                "weight", "bias", "running_mean", "running_var")})
            parts = {part: array for part, array in parts.items() if not part.startswith(norm)}
    if parts:
        raise UnsupportedModel(f"Head {task!r} has parts that no up-sampling head has: {sorted(parts)[:3]}. "
                               f"--backbone-only leaves all heads out.")
    return raw


def _fold(raw: Tensors, conv: str, norm: Tensors) -> Tensors:
    """``gain * (w x + b - mean) / sqrt(var + eps) + offset`` as one convolution."""
    weight, bias = raw[f"{conv}.weight"], raw[f"{conv}.bias"]
    if weight.ndim != 4 or bias.ndim != 1 or any(array.shape != bias.shape for array in norm.values()):
        raise WrongShape(f"The BatchNorm after {conv!r} must have one value for each of the convolution's outputs, "
                         f"{weight.shape[:1]}, not {[array.shape for array in norm.values()]}.")
    weight, bias = fold_batch_norm(weight, bias, norm["weight"], norm["bias"], norm["running_mean"],
                                   norm["running_var"], BATCH_NORM_EPS)
    return {f"{conv}.weight": weight, f"{conv}.bias": bias}


def fold_batch_norm(weight, bias, gain, offset, mean, variance, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution that does what it and the BatchNorm after it do; computed in float64."""
    scale = np.asarray(gain, np.float64) / np.sqrt(np.asarray(variance, np.float64) + eps)
    folded = np.asarray(weight, np.float64) * scale[:, None, None, None]
    moved = (np.asarray(bias, np.float64) - mean) * scale + offset
    return folded.astype(np.float32), moved.astype(np.float32)
