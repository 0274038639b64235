# SPDX-License-Identifier: Apache-2.0
"""Variants of M3ViT, seeded and saved as its training does: features equal the network's, or a refusal says why."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from golden.files.errors import AmbiguousModel, UnexpectedTensor, UnsupportedModel
from golden.model.float_model import M3ViT, to_pixels
from host.importers import import_checkpoint
from tests.host.importers.libraries.compare import CLOSE, picture, prepared, seeded
from tests.host.importers.variants.m3vit_network import Network
from tests.host.support.checkpoints import IMAGENET, save_pth

TASKS = ("semseg", "depth", "normals", "edge", "sal")


@dataclass(frozen=True)
class Variant:
    """Options of a network and of its training. ``prefix`` of every name; ``ranks``: files of expert parallelism;
    ``asked``: what the importer is told besides heads, top-k and the picture's size."""

    image: tuple[int, int] = (128, 256)
    dim: int = 64
    depth: int = 4
    heads: int = 2
    experts: int = 16
    ratio: int = 2
    top_k: int = 2
    tasks: int = 2
    gates: str = "multi"
    embedding: int = 64
    noisy: bool = False
    prefix: str = "module.backbone."
    ranks: int = 1


CITYSCAPES = Variant()
NYUD = Variant(image=(480, 640), ratio=1, top_k=4, depth=2)
PASCAL = Variant(image=(512, 512), ratio=1, top_k=4, depth=2, tasks=5)
ACCEPTED = {
    "Cityscapes, a gate for each task": CITYSCAPES,
    "Cityscapes, four experts a token of half the width": replace(CITYSCAPES, ratio=1, top_k=4),
    "Cityscapes, one gate for both tasks": replace(CITYSCAPES, gates="shared"),
    "Cityscapes, a gate that sees the task's embedding": replace(CITYSCAPES, gates="conditioned"),
    "Cityscapes, noisy gate": replace(CITYSCAPES, noisy=True),
    "Cityscapes, one task": replace(CITYSCAPES, tasks=1),
    "NYUD": NYUD,
    "NYUD, four tasks, heads of 32 channels": replace(NYUD, tasks=4, dim=128, heads=4),
    "PASCAL-Context, five tasks": PASCAL,
    "PASCAL-Context, a gate with the embedding of five tasks": replace(PASCAL, gates="conditioned", embedding=16),
    "experts on two ranks": replace(CITYSCAPES, ranks=2),
    "experts on four ranks, noisy gate": replace(CITYSCAPES, ranks=4, noisy=True),
    "pre-training by contrast": replace(CITYSCAPES, prefix="module.base_encoder.", tasks=1),
    "64 experts": replace(CITYSCAPES, experts=64, depth=2),
}


def made(variant: Variant) -> torch.nn.Module:
    return seeded(Network(variant))


def saved(folder, network: torch.nn.Module, variant: Variant, **more):
    """The checkpoint of a training run: a file, or a folder with a file for each rank."""
    state = {variant.prefix + name: tensor.numpy() for name, tensor in network.state_dict().items()} | more
    around = {"epoch": 3, "backbone": "VisionTransformer_moe", "state_dict": ..., "optimizer": {"lr": 0.1}}
    if variant.ranks == 1:
        return save_pth(folder / "checkpoint.pth.tar", state, **around)
    each = variant.experts // variant.ranks
    for rank in range(variant.ranks):
        save_pth(folder / f"{rank}.pth", {
            name: array[rank * each:(rank + 1) * each] if ".experts." in name else array
            for name, array in state.items() if rank == 0 or ".experts." in name}, **around)
    return folder


def given(variant: Variant) -> dict:
    return {"heads": variant.heads, "top_k": variant.top_k, "image": variant.image, "tasks": TASKS[:variant.tasks]}


@pytest.mark.parametrize("name", ACCEPTED)
@torch.inference_mode()
def test_features_equal_the_networks(name, tmp_path):
    variant = ACCEPTED[name]
    network = made(variant)
    model = import_checkpoint(saved(tmp_path, network, variant), note=lambda text: None, **given(variant))
    image = picture(*variant.image)
    raw = variant.image == CITYSCAPES.image
    imported = M3ViT(model).eval()
    pixels = prepared(image, (0, 0, 0), (1, 1, 1)) if raw else prepared(image, *IMAGENET.values())
    found = [imported(to_pixels(model.config, image), task) for task in model.config.tasks]
    for task, features in enumerate(found):
        wanted = network(pixels, task)
        assert (features - wanted).abs().max() < CLOSE
    different = len(found) > 1 and variant.gates != "shared"
    assert not different or (found[0] - found[1]).abs().max() > 100 * CLOSE, "the tasks' gates make a difference"


def w(*shape):
    return np.ones(shape, np.float32)


REFUSED = {
    "a gate network of its own": ({"module.gate_model.patch_embed.proj.weight": w(2, 2)}, {}, UnsupportedModel,
                                  "separate gate network"),
    "an FFN of three linears": ({"module.backbone.blocks.0.mlp.fc3.weight": w(2, 2)}, {}, UnexpectedTensor, "fc3"),
    "relative positions": ({"module.backbone.blocks.0.attn.relative_position_bias_table": w(4, 2)}, {},
                           UnexpectedTensor, "relative_position"),
    "heads that do not divide the width": ({}, {"heads": 3}, UnsupportedModel, "multiple of heads 3"),
    "top-k not told": ({}, {"top_k": None}, AmbiguousModel, "--top-k"),
    "other tasks than gates": ({}, {"tasks": TASKS[:3]}, AmbiguousModel, "gates for 2 tasks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_run_is_refused_by_its_property(name, tmp_path):
    more, options, error, words = REFUSED[name]
    path = saved(tmp_path, made(CITYSCAPES), CITYSCAPES, **more)
    with pytest.raises(error, match=words):
        import_checkpoint(path, note=lambda text: None, **given(CITYSCAPES) | options)
