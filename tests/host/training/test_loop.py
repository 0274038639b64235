# SPDX-License-Identifier: Apache-2.0
"""Training loop on a nano model: it learns, resumes to the same bits, and what it exports is what it trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.files.errors import BadHeader, MissingFile, UnsupportedModel
from golden.model.float_model import run_heads
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO, GateKind
from host.training import checkpoint
from host.training.data import batch_of, plain_batch
from host.training.loop import train
from host.training.losses import normalised
from host.training.network import TrainingNetwork
from host.training.recipe import Recipe

CONFIG = replace(NANO, image_height=32, image_width=64, patch=16, tasks=("semseg", "depth"), moe_layers=(1,),
                 gate=GateKind.TOPK_THEN_SOFTMAX, pixel_scale=255.0,
                 task_heads=(HeadConfig("semseg", "semseg", classes=3, channels=32),
                             HeadConfig("depth", "depth", classes=1, channels=32)))
RECIPE = Recipe(steps=12, batch=4, warmup=2, rate=2e-3, precision="float32")


class Stripes:
    """Pictures whose upper part is bright, class 1 and far, the lower one dark, class 0 and near; some ignored."""

    def __len__(self):
        return 10

    def item(self, index):
        rng = np.random.default_rng(index)
        horizon = int(rng.integers(8, 24))
        image = torch.from_numpy(rng.integers(0, 60, (3, 32, 64), np.uint8))
        image[:, :horizon] += 150
        label, depth = torch.zeros(32, 64, dtype=torch.uint8), torch.full((32, 64), 5.0)
        label[:horizon], depth[:horizon] = 1, 30.0
        label[:, 60:], depth[:, 60:] = 255, 0.0
        return image, label, depth


def losses(folder, **change):
    lines = []
    recipe = replace(RECIPE, **change)
    train(CONFIG, recipe, Stripes(), None, folder, report=lambda done, total, what: lines.append(what))
    return [sum(float(part.split()[1]) for part in line.split(", ")[:2]) for line in lines]


def same(one, two):
    assert set(one.tensors) == set(two.tensors)
    assert all(np.array_equal(array, two[name]) for name, array in one.tensors.items())


def test_it_learns(tmp_path):
    found = losses(tmp_path, steps=40)
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_run_gives_the_same_bits(tmp_path, processes):
    whole, figures = train(CONFIG, RECIPE, Stripes(), Stripes(), tmp_path / "a", processes=processes)
    train(CONFIG, RECIPE, Stripes(), Stripes(), tmp_path / "b", processes=processes, until=5)
    assert checkpoint.load(tmp_path / "b")[0].step == 5
    resumed, _ = train(CONFIG, RECIPE, Stripes(), Stripes(), tmp_path / "b", processes=processes, resume=True)
    same(whole, resumed)
    last = figures["history"][-1]
    assert last["step"] == 12 and 0 <= last["miou"] <= 1 and last["rmse"] > 0 and len(last["ious"]) == 3
    assert {name: len(counts) for name, counts in last["tokens"].items()} == {"block 1, semseg": 4, "block 1, depth": 4}


def test_another_seed_gives_another_model(tmp_path):
    one, _ = train(CONFIG, replace(RECIPE, steps=2, warmup=0), Stripes(), None, tmp_path)
    two, _ = train(CONFIG, replace(RECIPE, steps=2, warmup=0, seed=1), Stripes(), None, tmp_path)
    assert not np.array_equal(one["patch_embed.weight"], two["patch_embed.weight"])


def test_the_exported_model_computes_what_was_trained(tmp_path):
    model, _ = train(CONFIG, RECIPE, Stripes(), None, tmp_path)
    network = TrainingNetwork(CONFIG).eval()
    network.load_state_dict(checkpoint.load(tmp_path)[0].average)
    pixels = plain_batch(Stripes(), 0, 3).pixels
    with torch.inference_mode():
        wanted = network(normalised(pixels, CONFIG.pixel_mean, CONFIG.pixel_std, CONFIG.pixel_scale)).maps
    found = run_heads(model, pixels.byte().permute(0, 2, 3, 1).numpy())
    for task, unit in (("semseg", 1.0), ("depth", RECIPE.depth_unit)):
        limit = 1e-4 * float(wanted[task].abs().max()) * unit
        assert np.allclose(found[task], wanted[task].numpy() * unit, atol=limit)


def test_start_values_are_those_of_the_model_given(tmp_path):
    model, _ = train(CONFIG, RECIPE, Stripes(), None, tmp_path / "a")
    still = replace(RECIPE, steps=1, warmup=0, rate=0.0, final_rate=0.0, weight_decay=0.0)
    again, _ = train(CONFIG, still, Stripes(), None, tmp_path / "b", init=model)
    for name, array in model.tensors.items():
        assert np.allclose(again[name], array, atol=1e-6)
    one_task = replace(CONFIG, tasks=("semseg",), task_heads=(HeadConfig("semseg", "semseg", classes=5, channels=32),))
    other, _ = train(one_task, still, Stripes(), None, tmp_path / "c", init=model)
    assert np.allclose(other["heads.semseg.conv_3.weight"], model["heads.semseg.conv_3.weight"], atol=1e-6)
    assert other["heads.semseg.conv_4.weight"].shape == (5, 32, 1, 1)
    assert np.allclose(other["blocks.1.gate.semseg.weight"], model["blocks.1.gate.semseg.weight"], atol=1e-6)


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    train(CONFIG, replace(RECIPE, steps=1, warmup=0), Stripes(), None, tmp_path)
    with pytest.raises(UnsupportedModel, match="of another run"):
        train(replace(CONFIG, top_k=1), RECIPE, Stripes(), None, tmp_path, resume=True)


def test_damaged_or_missing_checkpoints_are_refused(tmp_path):
    with pytest.raises(MissingFile, match="to resume from"):
        train(CONFIG, RECIPE, Stripes(), None, tmp_path, resume=True)
    (tmp_path / checkpoint.FILE).write_bytes(b"words")
    with pytest.raises(BadHeader, match="not a checkpoint"):
        train(CONFIG, RECIPE, Stripes(), None, tmp_path, resume=True)


def test_every_picture_is_seen_once_an_epoch_whatever_the_workers():
    recipe = replace(RECIPE, zoom=1.0, jitter=0.0, halves=0.0)
    plain = {Stripes().item(i)[0].float().sum().item() for i in range(10)}
    seen = [image.sum().item() for step in range(5) for image in batch_of(Stripes(), recipe, step).pixels]
    assert len(seen) == 20 and set(seen) == plain and all(seen.count(value) == 2 for value in plain)
    shares = [batch_of(Stripes(), RECIPE, 3, rank, 2) for rank in range(2)]
    whole = batch_of(Stripes(), RECIPE, 3)
    assert torch.equal(torch.stack([shares[0].pixels, shares[1].pixels], 1).flatten(0, 1), whole.pixels)
    assert torch.equal(torch.stack([shares[0].left, shares[1].left], 1).flatten(), whole.left)


def test_labels_and_depth_move_with_the_picture():
    batch = batch_of(Stripes(), replace(RECIPE, batch=10, jitter=0.0), 0)
    assert batch.pixels.shape == (10, 3, 32, 32)
    bright, seen = batch.pixels.mean(1) > 105, batch.labels != 255
    assert (bright == (batch.labels == 1))[seen].float().mean() > 0.97  # a zoomed edge is a blend
    assert torch.equal((batch.depth > 10)[seen], (batch.labels == 1)[seen])
