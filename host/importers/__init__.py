# SPDX-License-Identifier: Apache-2.0
"""Checkpoint importers: convert other projects' checkpoints, recognised by tensor names, to a :class:`FloatModel`."""

import os
from collections.abc import Callable
from pathlib import Path

from golden.files.errors import MissingFile, UnknownLayout, UnsupportedModel
from golden.model.params import FloatModel
from golden.model.store import is_float_file, load_float
from golden.spec.limits import check_model
from golden.spec.model import ConfigError
from host.importers.edge_moe_bin import import_edge_moe_bin, is_edge_moe_folder
from host.importers.facts import Facts
from host.importers.files.json_file import read_json
from host.importers.files.nested import prefix_of, unwrapped
from host.importers.files.readers import fewer_experts, read_checkpoint
from host.importers.huggingface import HUGGINGFACE_ANCHOR, import_huggingface
from host.importers.m3vit import import_m3vit, is_m3vit, strip_prefixes
from host.importers.options import Options
from host.importers.ours import adjust
from host.importers.timm import TIMM_ANCHOR, import_timm

__all__ = ["Options", "import_checkpoint"]


def import_checkpoint(path: str | os.PathLike, *, trust_pickle: bool = False,
                      note: Callable[[str], None] = lambda line: None, **options) -> FloatModel:
    """The model in a checkpoint of any known layout.

    Layouts: Edge-MoE's folder of ``.float32.bin``; M3ViT ``.pth``, ``.pth.tar`` or folder of rank shards;
    timm, DeiT and Meta's DINO and DINOv2; Hugging Face ViT, DeiT, DINOv2; our own float ``.safetensors``. Containers:
    ``.safetensors``, ``.npz``, or what ``torch.save`` writes, which is never unpickled unless ``trust_pickle``.

    ``note`` hears, in sentences, what of the checkpoint is left out, which file said what, and what is a guess.
    ``options`` are the fields of :class:`Options`; they override the checkpoint. A value that neither gives and that
    would be no good guess raises :class:`AmbiguousModel`, which names the option. Every error is a subclass of
    :class:`ModelFileError`; a network that no machine of this instruction set runs is :class:`UnsupportedModel`.
    """
    said: list[str] = []  # a refusal is one sentence, so that what led there is not told
    model = _import(Path(path), Facts(Options(**options), said.append), trust_pickle)
    try:
        check_model(model.config)
    except ConfigError as error:
        raise UnsupportedModel(str(error)) from None
    for line in said:
        note(line)
    return model


def _import(path: Path, facts: Facts, trust_pickle: bool) -> FloatModel:
    if is_edge_moe_folder(path):
        return import_edge_moe_bin(path, facts)
    if path.suffix == ".safetensors" and path.is_file() and is_float_file(path):
        return adjust(load_float(path), facts)
    key = facts.options.key
    tensors = read_checkpoint(path, trust_pickle, key)
    facts.told("the file's name", name=path.resolve().name.split(".")[0] or "imported")
    tensors = {new: tensors[old] for old, new in unwrapped(tensors).items()}
    if is_m3vit(set(tensors)):
        if found := fewer_experts(tensors):
            raise MissingFile(f"The gate {found[0]!r} names {found[1]} experts, {path} holds {found[2]}: of a "
                              f"checkpoint of several ranks give the folder with 0.pth and all others.")
        return import_m3vit(strip_prefixes(tensors), facts)
    folder = path if path.is_dir() else path.parent
    config = read_json(folder / "config.json")
    if (prefix := prefix_of(tensors, HUGGINGFACE_ANCHOR, key)) is not None:
        plain = _without_prefix(tensors, prefix, facts, keep=("classifier.", "cls_classifier.", "pooler.",
                                                              "distillation_classifier.", "decoder."))
        return import_huggingface(plain, facts, config, read_json(folder / "preprocessor_config.json"),
                                  prefix.rstrip("."))
    prefix = prefix_of(tensors, TIMM_ANCHOR, key)
    if prefix is not None:
        return import_timm(_without_prefix(tensors, prefix, facts), facts, config, path.resolve().name)
    raise UnknownLayout(f"{path} matches no layout known here (Edge-MoE, M3ViT, timm, Hugging Face); its "
                        f"{len(tensors)} tensors start with {sorted(tensors)[:4]}.")


def _without_prefix(tensors: dict, prefix: str, facts: Facts, keep: tuple[str, ...] = ()) -> dict:
    """The tensors under a prefix, without it, and those whose names start with one of ``keep``; others are left out,
    and said so.
    """
    if not prefix:
        return tensors
    inside = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    kept = {name: array for name, array in tensors.items() if name.startswith(keep)} if keep else {}
    facts.left_out([name for name in tensors if not name.startswith(prefix) and name not in kept],
                   f"outside the network {prefix.rstrip('.')!r}, stay on the host")
    return inside | kept
