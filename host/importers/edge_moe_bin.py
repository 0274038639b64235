# SPDX-License-Identifier: Apache-2.0
"""Importer of Edge-MoE folders: one raw little-endian float32 file a tensor, row-major, no header."""

import math
import re
from pathlib import Path

import numpy as np

from golden.files.bounds import check_size
from golden.files.errors import MissingFile, MissingTensor, TruncatedFile, WrongShape
from golden.model.params import FloatModel
from golden.spec.model import M3VIT_TINY
from host.importers.build import build, refuse_unknown, task_names
from host.importers.facts import Facts
from host.importers.pixels import RAW

SUFFIX = ".float32.bin"

_NOT_PARAMETERS = re.compile(r"image|l\d+_x_post_\w+")
"""The test image and reference outputs."""

_PARTS = {"norm1": "norm1", "norm2": "norm2", "qkv": "attn.qkv", "attn_proj": "attn.proj", "fc1": "mlp.fc1",
          "fc2": "mlp.fc2", "htoh4": "mlp.fc1", "h4toh": "mlp.fc2"}


_GATE = re.compile(r"l(\d+)_w_gate_T_(.+)")
_OF_ALL = ("norm1", "norm2", "qkv", "attn_proj")
_OF_KIND = {"dense": ("fc1", "fc2"), "experts": ("htoh4", "h4toh")}


def is_edge_moe_folder(path: Path) -> bool:
    return path.is_dir() and any(path.glob(f"*{SUFFIX}"))


def import_edge_moe_bin(path: Path, facts: Facts) -> FloatModel:
    """Every dimension follows from the sizes of the biases; layers, experts and tasks from the names.

    Gate matrices are stored transposed with respect to M3ViT's checkpoints: (experts, dim), as ours. Row 0 of
    ``pos_embed`` is class token + position already. A pixel means code / 256, without mean and std. For
    the published network's dimensions heads is 3 and top_k 2; for others they must be given.
    """
    options = facts.options
    files = {file.name.removesuffix(SUFFIX): file for file in sorted(path.glob(f"*{SUFFIX}"))}
    files = {name: file for name, file in files.items() if not _NOT_PARAMETERS.fullmatch(name)}
    dim = _count(files, "patch_embed_bias")
    side = math.isqrt(_count(files, "patch_embed_weight") // (3 * dim))
    tokens = _count(files, "pos_embed") // dim
    raw = {"patch_embed.weight": _read(files.pop("patch_embed_weight"), (dim, 3, side, side)),
           "patch_embed.bias": _read(files.pop("patch_embed_bias"), (dim,)),
           "pos_embed": _read(files.pop("pos_embed"), (tokens, dim))}
    gates = [m for name in files if (m := _GATE.fullmatch(name))]
    _refuse_gaps(set(files), path)
    found = sorted({m[2] for m in gates})
    tasks = task_names(options, len(found)) if options.tasks else tuple(found)
    if len(gates) == len(found) > 0:  # no second layer would show that a file is missing
        facts.note(f"Layer {gates[0][1]} alone tells the tasks of {path}: {', '.join(tasks)}. If one is missing, so is "
                   f"its file l{gates[0][1]}_w_gate_T_<task>{SUFFIX}.")
    for match in gates:
        block, task = f"blocks.{match[1]}.", tasks[found.index(match[2])]
        weight = _read(files[match[0]], (_count(files, match[0]) // dim, dim))
        raw[f"{block}gate.{task}.weight"], raw[f"{block}gate.{task}.bias"] = weight, np.zeros(len(weight), np.float32)
        del files[match[0]]
    hidden = {}
    for name in files:
        if match := re.fullmatch(r"l(\d+)_(fc1|htoh4)_bias", name):
            experts = next((len(raw[key]) for t in tasks if (key := f"blocks.{match[1]}.gate.{t}.weight") in raw), None)
            if match[2] == "fc1":
                hidden[match[1]] = None, _count(files, name)
            elif experts is None:
                raise MissingTensor(f"Layer {match[1]} has experts but no gate: 'l{match[1]}_w_gate_T_<task>{SUFFIX}' "
                                    f"is not in {path}.")
            else:
                hidden[match[1]] = experts, _count(files, name) // experts
    for name in list(files):
        if match := re.fullmatch(rf"l(\d+)_({'|'.join(_PARTS)})_(weight|bias)", name):
            layer, part, kind = match.groups()
            shape = _shape(part, kind, dim, *hidden.get(layer, (None, 0)))
            raw[f"blocks.{layer}.{_PARTS[part]}.{kind}"] = _read(files.pop(name), shape)
    refuse_unknown(files, "Edge-MoE")
    tiny = M3VIT_TINY
    if dim == tiny.dim and (tiny.experts, tiny.expert_hidden) in hidden.values():
        facts.guess("as the published network has it", heads=tiny.heads, top_k=tiny.top_k)
    facts.told("the layout", tasks=tasks or None, name=path.resolve().name, **RAW | {"pixel_scale": 256.0})
    facts.guess("as the published network has it", eps=1e-6, activation="gelu", resize="bilinear")
    if tokens == tiny.tokens and side == tiny.patch:
        facts.guess("as the published network has it", source_image=(tiny.image_height, tiny.image_width))
    return build(raw, facts)


def _refuse_gaps(names: set[str], path: Path) -> None:
    """Raise :class:`MissingTensor` with the files that a layer lacks: weights, biases, gates that other layers have."""
    layers = {int(m[1]) for name in names if (m := re.match(r"l(\d{1,9})_", name))}
    tasks = {m[2] for name in names if (m := _GATE.fullmatch(name))}
    numbers = [int(m[1]) for task in tasks if (m := re.fullmatch(r"task(\d{1,2})", task))]
    if len(numbers) == len(tasks):
        tasks |= {f"task{number}" for number in range(max(numbers, default=-1))}
    for layer in sorted(layers):
        has = [kind for kind, parts in _OF_KIND.items()
               if any(f"l{layer}_{part}_{of}" in names for part in parts for of in ("weight", "bias"))]
        parts = [*_OF_ALL, *(part for kind in has for part in _OF_KIND[kind])]
        wanted = [f"l{layer}_{part}_{of}" for part in parts for of in ("weight", "bias")]
        wanted += [f"l{layer}_w_gate_T_{task}" for task in sorted(tasks) if has == ["experts"]]
        if missing := [name + SUFFIX for name in wanted if name not in names]:
            raise MissingTensor(f"{path} lacks {', '.join(missing[:3])}{' and others' * (len(missing) > 3)}: layer "
                                f"{layer} needs a weight and a bias for each part, and a gate for each task. Copy the "
                                f"folder again.")


def _shape(part: str, kind: str, dim: int, experts: int | None, hidden: int) -> tuple[int, ...]:
    outputs, inputs = {"norm1": (dim, None), "norm2": (dim, None), "qkv": (3 * dim, dim), "attn_proj": (dim, dim),
                       "fc1": (hidden, dim), "fc2": (dim, hidden), "htoh4": (hidden, dim),
                       "h4toh": (dim, hidden)}[part]
    lead = (experts or 0,) if part in ("htoh4", "h4toh") else ()
    return (*lead, outputs) if kind == "bias" or inputs is None else (*lead, outputs, inputs)


def _count(files: dict[str, Path], name: str) -> int:
    """Number of float32 values in a file; at least one."""
    if name not in files:
        raise MissingTensor(f"The folder needs a file {name + SUFFIX!r}; there is none.")
    size = files[name].stat().st_size
    check_size(files[name], size)
    if size == 0 or size % 4:
        raise TruncatedFile(f"{files[name]} must hold whole float32 values, not {size} bytes. Copy the file again.")
    return size // 4


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A file of exactly ``shape``."""
    wanted = 4 * math.prod(shape)
    try:
        size = file.stat().st_size
        if size < wanted:
            raise TruncatedFile(f"{file} must hold {wanted} bytes for the shape {shape}, not {size}. "
                                f"Copy the file again.")
        if size > wanted:
            raise WrongShape(f"{file} must hold {wanted} bytes for the shape {shape}, not {size}.")
        return np.fromfile(file, "<f4").reshape(shape).astype(np.float32)
    except OSError as error:
        raise MissingFile(f"Cannot read {file}: {error.strerror}.") from None
