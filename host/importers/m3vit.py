# SPDX-License-Identifier: Apache-2.0
"""Importer of M3ViT checkpoints: timm's names plus FastMoE's experts and one of three kinds of gate."""

import math
import re

import numpy as np

from golden.files.errors import MissingTensor, UnsupportedModel, WrongShape
from golden.model.params import FloatModel
from golden.spec.model import GateKind
from host.importers.build import Tensors, as_float32, build, need, refuse_unknown, task_names
from host.importers.facts import Facts
from host.importers.heads import take_heads
from host.importers.options import Options
from host.importers.pixels import IMAGENET, RAW
from host.importers.timm import convert_dense

KNOWN_IMAGES = ((128, 256), (480, 640), (512, 512))
"""Cityscapes, NYUD and PASCAL-Context as M3ViT trains on them, height x width."""

_PREFIXES = ("module.", "backbone.", "base_encoder.")
_TRAINING_ONLY = re.compile(r".*_aux\b.*|.*\.w_noise|.*\.gate\..*head\..*|tam_model.*"
                            r"|(module\.)?(momentum_encoder|predictor)\..*|.*\.num_batches_tracked")
_EXPERTS = {"htoh4": "fc1", "h4toh": "fc2"}
_REPRESENT = "gate_task_represent."


def is_m3vit(names: set[str]) -> bool:
    return any("mlp.experts.htoh4" in name for name in names)


def strip_prefixes(tensors: Tensors) -> Tensors:
    """Names without ``module.``, ``backbone.``, ``base_encoder.`` and, for gates, ``gate_model.``.

    A ``gate_model`` that is a separate network (MoCo pre-training with a separate gate ViT) is refused.
    """
    plain = {}
    for name, array in tensors.items():
        while prefix := next((p for p in _PREFIXES if name.startswith(p)), None):
            name = name.removeprefix(prefix)
        if name.startswith("gate_model."):
            name = name.removeprefix("gate_model.")
            if not (name.startswith(_REPRESENT) or re.match(r"blocks\.\d+\.mlp\.gate\.", name)):
                raise UnsupportedModel(f"The checkpoint routes by a separate gate network ('gate_model.{name}'); only "
                                       f"gates that read the block's own input are supported.")
        plain[name] = array
    return plain


def import_m3vit(tensors: Tensors, facts: Facts) -> FloatModel:
    """Multi-gate, shared-gate and task-conditioned M3ViT with its task heads.

    With as many gates as heads the tasks are those of the heads. ``top_k`` and ``heads`` must be given. The gate is
    ``topk_then_softmax`` where the checkpoint holds the ``noisy`` gate's ``w_noise``, else ``softmax_then_topk``. Not
    visible in a checkpoint, and assumed off: ``gate_input_ahead``, ``regu_experts_fromtask``, ``expert_prune``.
    Pixels: code / 255 for 128 x 256 images (Cityscapes), with ImageNet's mean and std for the others.
    """
    noisy = any(name.endswith(".w_noise") for name in tensors)
    left_out = [name for name in tensors if _TRAINING_ONLY.fullmatch(name)]
    facts.left_out(left_out, "for training only")
    tensors = {name: array for name, array in tensors.items() if name not in set(left_out)}
    head_tensors, heads = take_heads(tensors, facts.options)
    raw, rest = convert_dense(tensors)
    for name in [n for n in raw if n.startswith(("head.", "head_dist."))]:
        del raw[name]  # a pre-training head; the tasks' heads are decoders
    rest = {name: array for name, array in rest.items() if not name.startswith("head.")}
    for name in [n for n in raw if n.startswith(("reg_token", "fc_norm."))]:
        rest[name] = raw.pop(name)  # M3ViT has none
    for name in list(rest):
        if match := re.fullmatch(r"(blocks\.\d+\.mlp\.)experts\.(htoh4|h4toh)\.(weight|bias)", name):
            raw[f"{match[1]}{_EXPERTS[match[2]]}.{match[3]}"] = rest.pop(name)
    dim = need(raw, "patch_embed.weight", 4).shape[0]
    gates, tasks = _gates(rest, dim, facts.options, tuple(head.task for head in heads))
    raw |= gates | head_tensors
    refuse_unknown(rest, "M3ViT")
    positions = need(raw, "pos_embed")
    cityscapes = positions.ndim >= 2 and positions.shape[-2] == 1 + 128
    kind = GateKind.TOPK_THEN_SOFTMAX if noisy else GateKind.SOFTMAX_THEN_TOPK
    facts.guess("as M3ViT trains on Cityscapes" if cityscapes else "as M3ViT trains on NYUD and PASCAL-Context",
                **(RAW if cityscapes else IMAGENET))
    facts.guess("as M3ViT has it", tasks=tasks, gate=kind, eps=1e-6, activation="gelu", resize="bilinear")
    return build(raw, facts, (1 + ("dist_token" in raw),), KNOWN_IMAGES, heads)


def _gates(rest: Tensors, dim: int, options: Options, heads: tuple[str, ...]) -> tuple[Tensors, tuple[str, ...]]:
    """Gates under our names, and the tasks. Removes the tensors it uses from ``rest``.

    A checkpoint's ``w_gate`` is (inputs, experts), ours (experts, inputs). The task-conditioned gate's
    inputs are the token (dim) and the task's embedding (S), the same for every token: ``w_gate[dim:].T @
    embedding`` is a bias.
    """
    found: dict[tuple[str, int | None], np.ndarray] = {}
    for name in list(rest):
        if match := re.fullmatch(r"(blocks\.\d+\.)mlp\.gate\.(?:(\d{1,4})\.)?w_gate", name):
            found[match[1], None if match[2] is None else int(match[2])] = as_float32(name, rest.pop(name))
    if not found:
        raise MissingTensor("The checkpoint has experts, but no gate ('blocks.i.mlp.gate.w_gate').")
    represent = {name: rest.pop(name) for name in list(rest) if name.startswith(_REPRESENT)}
    indices = {task for _, task in found if task is not None}
    if indices and (None, *sorted(indices)) != (None, *range(len(indices))):
        raise MissingTensor(f"The checkpoint has gates for the tasks {sorted(indices)}; one between is missing.")
    embedding = _task_embedding(represent) if represent else None  # (tasks, S)
    if len(heads) > 1 and len(heads) == (len(indices) if embedding is None else len(embedding)):
        options = options.or_else(tasks=heads)
    if embedding is not None:
        tasks = task_names(options, len(embedding))
    elif indices:
        tasks = task_names(options, len(indices))
    else:
        tasks = ("task0",) if options.tasks is None else options.tasks
    gates = {}
    for (block, index), weight in found.items():
        inputs = dim + (0 if embedding is None else embedding.shape[1])
        if weight.ndim != 2 or weight.shape[0] != inputs:
            raise WrongShape(f"{block}mlp.gate.w_gate must have {inputs} rows (token {dim}, task embedding "
                             f"{inputs - dim}), not the shape {weight.shape}.")
        for t in range(len(tasks)) if index is None else (index,):
            bias = np.zeros(weight.shape[1]) if embedding is None else weight[dim:].T.astype(np.float64) @ embedding[t]
            gates[f"{block}gate.{tasks[t]}.weight"] = np.ascontiguousarray(weight[:dim].T)
            gates[f"{block}gate.{tasks[t]}.bias"] = bias.astype(np.float32)
    return gates, tasks


def _task_embedding(represent: Tensors) -> np.ndarray:
    """``norm(fc2(gelu(fc1(one-hot task))))`` of every task, float64 (tasks, S); eps of the norm 1e-6."""
    part = {}
    for name, ndim in (("fc1", 2), ("fc2", 2), ("norm", 1)):
        for kind, dims in (("weight", ndim), ("bias", 1)):
            key = f"{_REPRESENT}{name}.{kind}"
            part[name, kind] = as_float32(key, need(represent, key, dims)).astype(np.float64)
    size = len(part["norm", "weight"])
    for key, array in part.items():
        wanted = {("fc1", "weight"): (size, part["fc1", "weight"].shape[1]), ("fc2", "weight"): (size, size)}
        if array.shape != wanted.get(key, (size,)):
            raise WrongShape(f"'{_REPRESENT}{'.'.join(key)}' must have shape {wanted.get(key, (size,))}, not "
                             f"{array.shape}.")
    x = part["fc1", "weight"].T + part["fc1", "bias"]  # a one-hot input picks a column
    x = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    x = x @ part["fc2", "weight"].T + part["fc2", "bias"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * part["norm", "weight"] + part["norm", "bias"]
