# SPDX-License-Identifier: Apache-2.0
"""Float task heads against a head written with torch.nn.functional, and what passes through their probes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.model.float_model import M3ViT, run_heads, to_pixels
from golden.model.heads import upsampled
from golden.model.params import float_schema
from golden.model.store import load_float, read_notes, save_float
from golden.model.synthetic import synthetic_model
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO, ConfigError

HEADS = (HeadConfig("semseg", "semseg", classes=5, channels=32), HeadConfig("depth", "depth", classes=1, channels=64))
CONFIG = replace(NANO, image_height=32, image_width=48, patch=16, tasks=("semseg", "depth"), task_heads=HEADS)
IMAGES = np.random.default_rng(3).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)


def by_hand(model, task, stream):
    """The head as the description states it, layer by layer."""
    t = {name.removeprefix(f"heads.{task}."): torch.from_numpy(array) for name, array in model.tensors.items()
         if name.startswith(f"heads.{task}.")}
    patches = stream[:, 1:]
    centred = patches - patches.mean(-1, keepdim=True)
    tokens = centred / (patches.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt() * t["norm.weight"] + t["norm.bias"]
    x = tokens.reshape(len(stream), 2, 3, -1).permute(0, 3, 1, 2)
    for i in range(4):
        x = torch.clamp(F.conv2d(x, t[f"conv_{i}.weight"], t[f"conv_{i}.bias"], padding=1), min=0)
        x = twice(x) if i < 3 else x
    return twice(torch.einsum("oi,bihw->bohw", t["conv_4.weight"][:, :, 0, 0], x) + t["conv_4.bias"][:, None, None])


def twice(x):
    """Bilinear enlargement by index arithmetic: 3/4 of the nearer value, 1/4 of the next one, edges repeated."""
    for axis in (2, 3):
        size = x.shape[axis]
        near = torch.arange(2 * size) // 2
        other = (near + torch.where(torch.arange(2 * size) % 2 == 0, -1, 1)).clamp(0, size - 1)
        x = 0.75 * x.index_select(axis, near) + 0.25 * x.index_select(axis, other)
    return x


@pytest.mark.parametrize("task", ["semseg", "depth"])
def test_head_equals_its_description(task):
    model = synthetic_model(CONFIG, seed=1)
    net = M3ViT(model).eval()
    with torch.inference_mode():
        stream = net(to_pixels(CONFIG, IMAGES), task)
        found, wanted = net.maps(stream, task), by_hand(model, task, stream)
    assert found.shape == (2, dict(semseg=5, depth=1)[task], 32, 48)
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_upsampling_repeats_edges():
    assert upsampled(torch.tensor([[[[0.0, 4.0]]]]))[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_probe_gets_every_map():
    net, probe = M3ViT(synthetic_model(CONFIG)).eval(), {}
    with torch.inference_mode():
        result = net.maps(net(to_pixels(CONFIG, IMAGES), "depth"), "depth", probe)
    assert list(probe) == [f"heads.depth.{part}" for part in (
        "norm", "conv_0", "up_0", "conv_1", "up_1", "conv_2", "up_2", "conv_3", "conv_4", "up_4")]
    assert all(float(probe[f"heads.depth.conv_{i}"].min()) >= 0 for i in range(4))
    assert result is probe["heads.depth.up_4"] and tuple(probe["heads.depth.up_2"].shape) == (2, 64, 16, 24)


def test_every_task_uses_its_own_gates():
    model = synthetic_model(CONFIG)
    results, net = run_heads(model, IMAGES), M3ViT(model).eval()
    with torch.inference_mode():
        for task in CONFIG.tasks:
            assert np.array_equal(results[task], net.maps(net(to_pixels(CONFIG, IMAGES), task), task).numpy())


def test_one_pass_feeds_all_heads_of_a_model_with_one_task():
    config = replace(CONFIG, tasks=("street",), moe_layers=())
    assert set(run_heads(synthetic_model(config), IMAGES)) == {"semseg", "depth"}


def test_task_names_may_have_dots():
    config = replace(CONFIG, tasks=("a.norm", "b"), task_heads=(replace(HEADS[0], task="a.norm"),))
    assert "heads.a.norm.norm.weight" in float_schema(config)
    assert set(run_heads(synthetic_model(config), IMAGES)) == {"a.norm"}


def test_a_task_without_a_head_is_refused():
    with pytest.raises(ConfigError, match="has heads for .*, not for 'edge'"):
        M3ViT(synthetic_model(CONFIG)).maps(torch.zeros(1, 7, 64), "edge")


@pytest.mark.parametrize("half", [False, True])
def test_file_with_heads_comes_back(half, tmp_path):
    model = synthetic_model(CONFIG)
    save_float(model, tmp_path / "a.safetensors", half=half, notes={"steps": 7})
    back = load_float(tmp_path / "a.safetensors")
    assert back.config == CONFIG and read_notes(tmp_path / "a.safetensors") == {"steps": 7}
    for name, array in model.tensors.items():
        assert np.array_equal(back[name], array.astype(np.float16).astype(np.float32) if half else array)
