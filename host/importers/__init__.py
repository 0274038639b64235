# SPDX-License-Identifier: Apache-2.0
"""Checkpoint importers: convert other projects' checkpoints, recognised by tensor names, to a :class:`FloatModel`."""

import os
from collections.abc import Callable
from pathlib import Path

from golden.files.errors import AmbiguousModel, MissingFile, UnknownLayout, UnsupportedModel
from golden.model.params import FloatModel
from golden.model.store import is_float_file, load_float
from golden.spec.limits import check_model
from golden.spec.model import ConfigError
from host.importers.edge_moe_bin import import_edge_moe_bin, is_edge_moe_folder
from host.importers.facts import Facts
from host.importers.files.json_file import read_json
from host.importers.files.nested import unwrapped
from host.importers.files.readers import fewer_experts, read_checkpoint
from host.importers.huggingface import HUGGINGFACE_ANCHOR, import_huggingface, refuse_family
from host.importers.m3vit import import_m3vit, is_m3vit, strip_prefixes
from host.importers.options import Options
from host.importers.others import import_other
from host.importers.ours import adjust
from host.importers.reasons import refuse_convolutions, refuse_foreign
from host.importers.timm import TIMM_ANCHOR, import_timm
from host.importers.variants.prompts import take_prompts, with_prompts
from host.importers.variants.windows import prepare

__all__ = ["Options", "import_checkpoint"]


def import_checkpoint(path: str | os.PathLike, *, trust_pickle: bool = False,
                      note: Callable[[str], None] = lambda line: None, **options) -> FloatModel:
    """The model in a checkpoint of any known layout.

    Layouts: Edge-MoE's folder of ``.float32.bin``; M3ViT ``.pth``, ``.pth.tar`` or folder of rank shards;
    timm, DeiT and Meta's DINO and DINOv2, Detectron2's ViTDet; Hugging Face ViT, DeiT, DINOv2, SigLIP, ViTDet;
    torchvision; Google's; our own float ``.safetensors``; prompts of VPT next to any of them. Containers:
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
    tensors = read_checkpoint(path, trust_pickle, facts.options.key)
    facts.told("the file's name", name=path.resolve().name.split(".")[0] or "imported")
    tensors, prompts = take_prompts({new: tensors[old] for old, new in unwrapped(tensors).items()})
    model = _network(tensors, path, facts)
    return model if prompts is None else with_prompts(model, prompts)


def _network(tensors: dict, path: Path, facts: Facts) -> FloatModel:
    """The network in the tensors of one checkpoint."""
    if is_m3vit(set(tensors)):
        if found := fewer_experts(tensors):
            raise MissingFile(f"The gate {found[0]!r} names {found[1]} experts, {path} holds {found[2]}: of a "
                              f"checkpoint of several ranks give the folder with 0.pth and all others.")
        return import_m3vit(strip_prefixes(tensors), facts)
    folder = path if path.is_dir() else path.parent
    config = read_json(folder / "config.json")
    preprocessor = read_json(folder / "preprocessor_config.json")
    refuse_family(config.get("model_type"))
    tensors = prepare(tensors, facts, config)
    if (prefix := facts.prefix_of(tensors, HUGGINGFACE_ANCHOR)) is not None:
        plain = facts.without_prefix(tensors, prefix, ("classifier.", "cls_classifier.", "distillation_classifier.",
                                                       "pooler.", "decoder."))
        return import_huggingface(plain, facts, config, preprocessor, prefix.rstrip("."))
    try:
        prefix = facts.prefix_of(tensors, TIMM_ANCHOR)
    except AmbiguousModel:
        refuse_foreign(tensors)  # stages of one network look like several
        raise
    if prefix is not None:
        return import_timm(facts.without_prefix(tensors, prefix), facts, config, path.resolve().name)
    if (model := import_other(tensors, facts, config, preprocessor)) is not None:
        return model
    refuse_foreign(tensors)
    refuse_convolutions(tensors)
    raise UnknownLayout(f"{path} matches no layout known here (Edge-MoE, M3ViT, timm, Hugging Face, torchvision, "
                        f"Google); its {len(tensors)} tensors start with {sorted(tensors)[:4]}.")
