# SPDX-License-Identifier: Apache-2.0
"""Training on folders of pictures: the model for the maps that a folder has, and which pictures to measure on."""

from dataclasses import replace

from golden.model.params import FloatModel
from golden.spec.heads import HeadConfig
from golden.spec.model import ModelConfig
from host.datasets.folder import Folder, FolderError
from host.training.recipe import STREET, Recipe

FINE_TUNING = Recipe(steps=1500, batch=8, rate=3e-4, warmup=100, decay=0.6, halves=0.5, zoom=1.5, jitter=0.2,
                     average=0.995)
"""Recipe for folders of some hundred pictures."""

HELD_OUT = 10
"""Without a folder to measure on, every tenth picture is kept for it."""


def model_for(folder: Folder, init: FloatModel | None, name: str) -> ModelConfig:
    """The backbone of ``init`` (else of the street model) with a head for each kind of map that ``folder`` has."""
    config = STREET if init is None else init.config
    known = {head.kind: head for head in config.task_heads}
    heads = []
    for kind, there, names in (("semseg", folder.has_labels, folder.classes), ("depth", folder.has_depth, ())):
        if there:
            old = known.get(kind) or next(iter(known.values()), None)
            heads.append(HeadConfig(kind, kind, max(1, len(names)), old.channels if old else 64, names))
    if not heads:
        raise FolderError(f"{folder.path} has neither a folder label nor a folder depth: there is nothing to learn.")
    return replace(config, name=name, task_heads=tuple(heads), tasks=tuple(head.task for head in heads),
                   final_norm=False, classes=0)


def split(folder: Folder) -> tuple[Folder, Folder]:
    """Pictures to learn from and pictures to measure on."""
    kept = folder.images[HELD_OUT - 1::HELD_OUT]
    if not kept:
        raise FolderError(f"{folder.path} has {len(folder)} pictures; to measure on some, {HELD_OUT} are needed, or "
                          f"another folder (--validation).")
    return replace(folder, images=tuple(p for p in folder.images if p not in set(kept))), replace(folder, images=kept)
