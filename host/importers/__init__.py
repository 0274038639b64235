# SPDX-License-Identifier: Apache-2.0
"""Checkpoint importers: convert other projects' checkpoints, recognised by tensor names, to a :class:`FloatModel`."""

import os
from collections.abc import Callable
from pathlib import Path

from golden.files.errors import UnknownLayout, UnsupportedModel
from golden.model.params import FloatModel
from golden.model.store import is_float_file, load_float
from golden.spec.limits import check_model
from golden.spec.model import ConfigError
from host.importers.edge_moe_bin import import_edge_moe_bin, is_edge_moe_folder
from host.importers.huggingface import import_huggingface, is_huggingface
from host.importers.m3vit import import_m3vit, is_m3vit, strip_prefixes
from host.importers.options import Options
from host.importers.ours import adjust
from host.importers.readers import read_checkpoint, read_json
from host.importers.timm import import_timm, is_timm

__all__ = ["Options", "import_checkpoint"]


def import_checkpoint(path: str | os.PathLike, *, trust_pickle: bool = False,
                      note: Callable[[str], None] = lambda line: None, **options) -> FloatModel:
    """The model in a checkpoint of any known layout.

    Layouts: Edge-MoE's folder of ``.float32.bin``; M3ViT ``.pth``, ``.pth.tar`` or folder of rank shards;
    timm and DeiT; Hugging Face ViT, DeiT, DINOv2; our own float ``.safetensors``. Containers:
    ``.safetensors``, or what ``torch.save`` writes, which is never unpickled unless ``trust_pickle``.

    ``note`` hears, in sentences, what of the checkpoint is left out. ``options`` are the fields of :class:`Options`;
    they override the checkpoint. A value that neither gives raises :class:`AmbiguousModel`, which names the option.
    Every error is a subclass of
    :class:`ModelFileError`; a network that no machine of this instruction set runs is :class:`UnsupportedModel`.
    """
    model = _import(Path(path), Options(**options), trust_pickle, note)
    try:
        check_model(model.config)
    except ConfigError as error:
        raise UnsupportedModel(str(error)) from None
    return model


def _import(path: Path, chosen: Options, trust_pickle: bool, note: Callable[[str], None]) -> FloatModel:
    if is_edge_moe_folder(path):
        return import_edge_moe_bin(path, chosen, note)
    if path.suffix == ".safetensors" and is_float_file(path):
        return adjust(load_float(path), chosen)
    tensors = read_checkpoint(path, trust_pickle)
    chosen = chosen.or_else(name=path.resolve().name.split(".")[0] or "imported")
    names = set(tensors)
    if is_m3vit(names):
        return import_m3vit(strip_prefixes(tensors), chosen, note)
    folder = path if path.is_dir() else path.parent
    if is_huggingface(names):
        configs = read_json(folder / "config.json"), read_json(folder / "preprocessor_config.json")
        return import_huggingface(tensors, chosen, configs)
    plain = strip_prefixes(tensors)
    if is_timm(set(plain)):
        return import_timm(plain, chosen, read_json(folder / "config.json"))
    raise UnknownLayout(f"{path} matches no layout known here (Edge-MoE, M3ViT, timm, Hugging Face); its "
                        f"{len(names)} tensors start with {sorted(names)[:4]}.")
