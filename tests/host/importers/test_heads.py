# SPDX-License-Identifier: Apache-2.0
"""Importer of M3ViT's task heads: against PyTorch heads with BatchNorm, names and kinds, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from golden.files import safetensors_file
from golden.files.errors import AmbiguousModel, MissingTensor, ModelFileError, UnsupportedModel, WrongShape
from golden.model.float_model import M3ViT
from golden.model.store import FORMAT, FORMAT_VERSION, save_float
from golden.model.synthetic import synthetic_model
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO
from host.importers import import_checkpoint
from tests.host.support import layouts

CONFIG = replace(NANO, image_height=32, image_width=32, patch=16, tasks=("semseg", "depth"))
GIVEN = {"heads": NANO.heads, "top_k": NANO.top_k}


class PublishedHead(nn.Module):
    """M3ViT's up-sampling head with its names, written from its description."""

    def __init__(self, dim: int, channels: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        for i in range(4):
            setattr(self, f"conv_{i}", nn.Conv2d(dim if i == 0 else channels, channels, 3, padding=1))
            setattr(self, f"syncbn_fc_{i}", nn.BatchNorm2d(channels))
        self.conv_4 = nn.Conv2d(channels, classes, 1)

    def forward(self, tokens, height: int, width: int):  # [B, h w, D]
        x = self.norm(tokens).transpose(1, 2).reshape(len(tokens), -1, height, width)
        for i in range(4):
            x = torch.relu(getattr(self, f"syncbn_fc_{i}")(getattr(self, f"conv_{i}")(x)))
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear") if i < 3 else x
        return nn.functional.interpolate(self.conv_4(x), scale_factor=2, mode="bilinear")


def head(classes: int, seed: int = 0) -> PublishedHead:
    """A head whose BatchNorms have seen something."""
    torch.manual_seed(seed)
    made = PublishedHead(CONFIG.dim, 32, classes).eval()
    for name, buffer in [*made.named_buffers(), *made.named_parameters()]:
        if "syncbn" in name and buffer.is_floating_point():
            buffer.data.uniform_(0.5, 2.0)
    return made


@pytest.fixture
def write(tmp_path):
    """A checkpoint with a seeded backbone and the given heads, by their prefix."""
    def written(heads: dict[str, nn.Module], config=CONFIG, **options):
        backbone = synthetic_model(config, seed=1)
        state = {name: torch.from_numpy(np.array(array)) for name, array in
                 layouts.m3vit(layouts.rounded(backbone), **options).items()}
        for prefix, module in heads.items():
            state |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
        torch.save({"state_dict": state}, tmp_path / "checkpoint.pth")
        return tmp_path / "checkpoint.pth"
    return written


def give(**more):
    return GIVEN | {"image": (32, 32), "source_image": (32, 32)} | more


def test_batch_norm_is_folded(write):
    published = {"semseg": head(5), "depth": head(1, seed=1)}
    model = import_checkpoint(write({f"decoders.{task}": h for task, h in published.items()}), **give())
    assert model.config.tasks == ("semseg", "depth")
    assert model.config.task_heads == (HeadConfig("semseg", "semseg", classes=5, channels=32),
                                       HeadConfig("depth", "depth", classes=1, channels=32))
    stream = torch.randn(2, 5, CONFIG.dim)
    with torch.inference_mode():
        for task, module in published.items():
            wanted = module(stream[:, 1:], 2, 2)
            assert torch.allclose(M3ViT(model).maps(stream, task), wanted, atol=1e-5 * float(wanted.abs().max()))


def test_head_without_batch_norm(write):
    plain = head(5)
    for i in range(4):
        delattr(plain, f"syncbn_fc_{i}")
    model = import_checkpoint(write({"decoder": plain}, replace(CONFIG, tasks=("t",)), gates="shared"), **give())
    assert [h.task for h in model.config.task_heads] == ["semseg"]
    assert np.array_equal(model["heads.semseg.conv_2.weight"], plain.conv_2.weight.detach().numpy())


def test_single_head_has_the_name_of_its_task(write):
    path = write({"decoder": head(1)}, replace(CONFIG, tasks=("t",)), gates="shared")
    model = import_checkpoint(path, **give(tasks=("depth",)))
    assert model.config.task_heads == (HeadConfig("depth", "depth", classes=1, channels=32),)


def test_names_and_order_of_published_tasks(write):
    config = replace(CONFIG, tasks=("a", "b", "c", "d", "e"))
    classes = {"semseg": 21, "human_parts": 7, "sal": 1, "normals": 3, "edge": 1}
    model = import_checkpoint(write({f"decoders.{t}": head(c) for t, c in classes.items()}, config), **give())
    assert model.config.tasks == tuple(classes)
    assert [h.kind for h in model.config.task_heads] == ["semseg", "semseg", "saliency", "normals", "edge"]


def test_kind_of_an_unknown_task_is_asked_for(write):
    path = write({"decoders.heat": head(1), "decoders.semseg": head(5)})
    with pytest.raises(AmbiguousModel, match="--head-kinds heat=KIND"):
        import_checkpoint(path, **give())
    model = import_checkpoint(path, **give(head_kinds=("heat=depth",)))
    assert model.config.task_heads[0].kind == "depth"
    with pytest.raises(AmbiguousModel, match="TASK=KIND"):
        import_checkpoint(path, **give(head_kinds=("heat:depth",)))


def test_backbone_only(write, tmp_path):
    path = write({"decoders.semseg": head(5), "decoders.depth": nn.Linear(3, 3)})
    model = import_checkpoint(path, **give(backbone_only=True))
    assert model.config.task_heads == () and not any(name.startswith("heads.") for name in model.tensors)


@pytest.mark.parametrize("change, error, words", [
    (lambda h: delattr(h, "conv_2"), MissingTensor, "conv_2.weight"),
    (lambda h: delattr(h, "conv_4"), MissingTensor, "conv_4.weight"),
    (lambda h: setattr(h, "aspp", nn.Linear(3, 3)), UnsupportedModel, "aspp.bias"),
    (lambda h: setattr(h, "syncbn_fc_1", nn.BatchNorm2d(16)), WrongShape, "conv_1"),
    (lambda h: setattr(h, "syncbn_fc_1", nn.LayerNorm(32)), MissingTensor, "running_mean"),
    (lambda h: setattr(h, "conv_3", nn.Conv2d(32, 32, 1)), WrongShape, "conv_3"),
])
def test_other_heads_are_refused(change, error, words, write):
    wrong = head(5)
    change(wrong)
    with pytest.raises(error, match=words):
        import_checkpoint(write({"decoders.semseg": wrong, "decoders.depth": head(1)}), **give())


def test_heads_that_match_no_task_are_refused(write):
    path = write({"decoders.semseg": head(5), "decoders.depth": head(1)})
    with pytest.raises(UnsupportedModel, match="There are heads for"):
        import_checkpoint(path, **give(tasks=("one", "two")))


def test_file_of_ours_may_lose_its_heads(tmp_path):
    config = replace(CONFIG, task_heads=(HeadConfig("depth", "depth", classes=1, channels=32),))
    save_float(synthetic_model(config), tmp_path / "a.safetensors")
    assert import_checkpoint(tmp_path / "a.safetensors").config == config
    assert import_checkpoint(tmp_path / "a.safetensors", backbone_only=True).config.task_heads == ()


def test_a_file_with_wrong_heads_is_refused(tmp_path):
    import json

    config = replace(CONFIG, task_heads=(HeadConfig("depth", "depth", classes=1, channels=32),))
    for heads in (5, [5], [{"task": "depth"}], [{"task": "depth", "kind": "deep", "classes": 1, "channels": 32}], "ab"):
        about = json.dumps(config.to_json() | {"task_heads": heads})
        metadata = {"format": FORMAT, "version": FORMAT_VERSION, "model": about}
        safetensors_file.write(tmp_path / "a.safetensors", {}, metadata)
        with pytest.raises(ModelFileError, match="task_heads"):
            import_checkpoint(tmp_path / "a.safetensors")
