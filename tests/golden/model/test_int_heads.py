# SPDX-License-Identifier: Apache-2.0
"""Task heads in integers: wiring against an unrounded float shadow, exact values by another road, results by name."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.files.errors import WrongShape
from golden.model import int_heads
from golden.model.int_checks import OutOfRange
from golden.model.int_heads import picture
from golden.model.int_model import IntModel
from golden.model.random_int_model import random_int_model
from golden.ops.saturation import SaturationCounters
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO, ConfigError
from golden.spec.quantized import HeadPlan, Plan

HEADS = (HeadConfig("task0", "semseg", 7, 64), HeadConfig("task1", "depth", 1, 48))
TWO_TASKS = replace(NANO, name="nano-heads", image_height=64, image_width=128, patch=16, task_heads=HEADS)
ONE_TASK = replace(TWO_TASKS, dim=96, heads=3, moe_layers=(), tasks=("default",), extra_tokens=2,
                   task_heads=(*HEADS, HeadConfig("facing", "normals", 3, 32)))


def fast(config):
    return Plan.fast(config.depth, config.task_heads)


def accurate(config):
    return Plan.accurate(config.depth, config.task_heads)


def image(config, seed=5):
    return np.random.default_rng(seed).integers(
        0, 256, (config.image_height, config.image_width, config.channels), dtype=np.uint8)


def traced(model, task=None):
    seen = {}
    seen["stream"] = model.run(image(model.config), task, seen.__setitem__)
    return seen


class Shadow:
    """A head on the same integer parameters in float64: clipped where the machine clips, nothing rounded."""

    def __init__(self, model: IntModel, head: HeadConfig):
        self.c, self.name = model.config, f"heads.{head.task}"
        self.plan = model.plan.task_heads[self.c.task_heads.index(head)]
        self.t = {name: torch.from_numpy(array.astype(np.float64)) for name, array in model.tensors.items()}

    def conv(self, layer, x):
        weight, bias, multiplier = (self.t[f"{self.name}.conv_{layer}.{f}"] for f in ("weight", "bias", "multiplier"))
        weight = weight if weight.ndim == 4 else weight[:, :, None, None]
        scale = (multiplier / 2 ** self.t[f"{self.name}.conv_{layer}.shift"])[:, None, None]
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2) * scale

    def run(self, stream):
        gain, offset, shift = (self.t[f"{self.name}.norm.{f}"] for f in ("gain", "offset", "shift"))
        x = torch.from_numpy(stream[self.c.extra_tokens:].astype(np.float64)) / 512
        x = (F.layer_norm(x, x.shape[-1:], eps=self.c.eps) * 2048 * gain + offset) / 2 ** shift
        x = x.clamp(-32768, 32767) if self.plan.norm else x.clamp(-1024, 1016)
        x = x.T.reshape(1, -1, *self.c.grid)
        for layer in range(4):
            x = self.conv(layer, x).clamp(0, 32767 if self.plan.last and layer == 3 else 255)
            x = F.interpolate(x, scale_factor=2, mode="bilinear") if layer < 3 else x
        return self.conv(4, x).clamp(-32768, 32767)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("config", "plan", "threshold"), [
    (TWO_TASKS, fast, 0.05), (TWO_TASKS, accurate, 0.02), (ONE_TASK, fast, 0.05), (ONE_TASK, accurate, 0.02)])
def test_wiring_against_an_unrounded_shadow(config, plan, threshold):
    model = random_int_model(config, plan(config), seed=3)
    for task in config.tasks:
        stream = model.run(image(config), task)
        for name, found in model.maps(stream, task).items():
            head = next(head for head in config.task_heads if head.task == name)
            assert found.shape == (32, 64, head.classes) and found.dtype == np.int16
            wanted = Shadow(model, head).run(stream)
            assert np.sqrt(((found - wanted) ** 2).mean() / (wanted ** 2).mean()) < threshold


def test_the_shadow_notices_the_other_head_and_a_transposed_weight():
    model = random_int_model(replace(ONE_TASK, task_heads=(HEADS[0], replace(HEADS[0], task="other"))), seed=3)
    stream = model.run(image(model.config))
    found, one, other = model.maps(stream)["task0"], *(Shadow(model, head) for head in model.config.task_heads)
    assert np.abs(found - other.run(stream)).max() > 1000
    one.t["heads.task0.conv_2.weight"] = one.t["heads.task0.conv_2.weight"].mT
    assert np.abs(found - one.run(stream)).max() > 500


def rounded(value, shift):
    return (value + (1 << shift >> 1)) >> shift


def exact_conv(model, name, x):
    """``u`` of a convolution of an integer map [h, w, C], by torch in float64, which is exact here."""
    t = model.tensors
    weight = t[f"{name}.weight"].astype(np.float64)
    weight = torch.from_numpy(weight if weight.ndim == 4 else weight[:, :, None, None])
    acc = F.conv2d(torch.from_numpy(x.astype(np.float64)).permute(2, 0, 1)[None], weight, padding=weight.shape[-1] // 2)
    acc = acc[0].permute(1, 2, 0).numpy().astype(np.int64) + t[f"{name}.bias"]
    return rounded(acc * t[f"{name}.multiplier"].astype(np.int64), int(t[f"{name}.shift"])).clip(-32768, 32767)


def bilinear(x):
    """``(9 a + 3 b + 3 c + d + 8) >> 4`` of [h, w, C], position by position."""
    lines, width, _ = x.shape
    out = np.zeros((2 * lines, 2 * width, x.shape[2]), np.int64)
    for y in range(2 * lines):
        for column in range(2 * width):
            near, far = (y // 2, column // 2), (y // 2 + (1 if y % 2 else -1), column // 2 + (1 if column % 2 else -1))
            far = np.clip(far[0], 0, lines - 1), np.clip(far[1], 0, width - 1)
            out[y, column] = (9 * x[near] + 3 * x[far[0], near[1]] + 3 * x[near[0], far[1]] + x[far] + 8) >> 4
    return out


@pytest.mark.parametrize("plan", [fast, accurate])
@pytest.mark.parametrize("positions", [2048, 100])
def test_every_intermediate_follows_exactly_from_the_one_before(plan, positions, monkeypatch):
    monkeypatch.setattr(int_heads, "POSITIONS", positions)  # strips of many lines or of one
    model = random_int_model(TWO_TASKS, plan(TWO_TASKS), seed=1)
    for head, part in zip(HEADS, model.plan.task_heads, strict=True):
        seen, name = traced(model, head.task), f"heads.{head.task}"
        x, grid = seen[f"{name}.norm"].astype(np.int64), TWO_TASKS.grid
        assert (f"{name}.norm.exp" in seen) is not part.norm
        for layer in range(4):
            wide = part.last and layer == 3
            u = exact_conv(model, f"{name}.conv_{layer}", x.reshape(*grid, -1))
            x = seen[f"{name}.conv_{layer}"]
            assert (x.reshape(u.shape) == u.clip(0, 32767 if wide else 255)).all()
            assert x.max() == (32767 if wide else 255) and (x == 0).any()
            if layer < 3:
                up = bilinear(x.reshape(*grid, -1).astype(np.int64))
                grid, x = up.shape[:2], seen[f"{name}.up_{layer}"]
                assert (x == up.reshape(x.shape)).all()
        assert (seen[f"{name}.out"] == exact_conv(model, f"{name}.conv_4", x.reshape(*grid, -1))).all()


def test_results_belong_to_the_heads_of_their_task():
    model = random_int_model(TWO_TASKS, seed=2)
    seen = traced(model, "task1")
    assert {name.split(".")[1] for name in seen if name.startswith("heads.")} == {"task1"}
    assert (model.maps(seen["stream"], "task1")["task1"] == seen["heads.task1.out"]).all()
    both = model.pictures(image(TWO_TASKS))
    assert {name: map_.shape for name, map_ in both.items()} == {"task0": (7, 64, 128), "task1": (1, 64, 128)}
    assert (both["task1"] == picture(seen["heads.task1.out"], model.plan.task_heads[1])).all()
    shared = random_int_model(ONE_TASK, seed=2)
    assert list(shared.pictures(image(ONE_TASK))) == ["task0", "task1", "facing"]
    assert random_int_model(NANO).maps(np.zeros((NANO.tokens, NANO.dim), np.int16)) == {}


def test_a_result_is_enlarged_to_the_picture_exactly():
    result = np.random.default_rng(0).integers(-32768, 32768, (8, 16, 3)).astype(np.int16)
    wanted = F.interpolate(torch.from_numpy(result.astype(np.float64)).permute(2, 0, 1)[None] / 64, scale_factor=2,
                           mode="bilinear")[0].numpy()
    found = picture(result, HeadPlan(frac=6))
    assert found.dtype == np.float32 and (found == wanted).all()


def test_clipped_map_values_are_counted_at_their_convolution():
    model, saturation = random_int_model(TWO_TASKS, seed=1), SaturationCounters()
    seen = {}
    model.maps(model.run(image(TWO_TASKS), "task0"), "task0", seen.__setitem__, saturation)
    counts = {place: (clipped, total) for place, kind, clipped, total in saturation.table() if kind == "unsigned"}
    assert list(counts) == [f"heads.task0.conv_{i}" for i in range(4)]
    for place, (clipped, total) in counts.items():
        assert total == seen[place].size and 0 < clipped <= (seen[place] == 255).sum()
    assert 0 < saturation.clipped < 0.03 * sum(row[3] for row in saturation.table())


def test_saved_and_loaded_it_gives_the_same_results(tmp_path):
    model = random_int_model(ONE_TASK, accurate(ONE_TASK))
    model.save(tmp_path / "model.safetensors")
    loaded = IntModel.load(tmp_path / "model.safetensors")
    assert (loaded.config, loaded.plan) == (model.config, model.plan)
    one, two = (m.pictures(image(ONE_TASK)) for m in (model, loaded))
    assert all((one[name] == two[name]).all() for name in one)


def broken(plan, **changes):
    tensors = dict(random_int_model(TWO_TASKS, plan).tensors)
    for name, change in changes.items():
        name = f"heads.task0.{name.replace('__', '.')}"
        tensors[name] = change(tensors[name].copy())
    return tensors


def full(value):
    return partial(np.full_like, fill_value=value)


@pytest.mark.parametrize(("plan", "changes", "words"), [
    (fast, {"conv_1__weight": full(-128)}, "-127..127"),
    (fast, {"conv_4__bias": full(2 ** 31 - 1)}, "sum .weight. \\* 255"),
    (accurate, {"conv_0__weight": full(127)}, "'heads.task0.conv_0.weight', channel .*32768"),
    (accurate, {"conv_4__bias": full(2 ** 31 - 1)}, "sum .weight. \\* 32768"),
    (fast, {"norm__eps": full(1 << 40)}, "heads.task0.norm.eps"),
    (fast, {"norm__shift": full(32)}, "heads.task0.norm.shift"),
    (fast, {"conv_2__shift": full(48)}, "heads.task0.conv_2.shift"),
])
def test_heads_that_no_machine_could_run_are_refused(plan, changes, words):
    with pytest.raises(OutOfRange, match=words):
        IntModel(TWO_TASKS, plan(TWO_TASKS), broken(plan(TWO_TASKS), **changes))


def test_plans_of_another_number_of_heads_and_other_streams_are_refused():
    model = random_int_model(TWO_TASKS)
    with pytest.raises(WrongShape, match="describes 0 task heads; the model 'nano-heads' has 2"):
        IntModel(TWO_TASKS, Plan.fast(2), model.tensors)
    with pytest.raises(ConfigError, match="int16 of shape"):
        model.maps(np.zeros((3, 64), np.int16))


def test_a_task_may_have_any_name():
    heads = (HeadConfig("x.gate.norm", "semseg", 2, 32),)
    config = replace(TWO_TASKS, moe_layers=(), tasks=("default",), task_heads=heads)
    assert random_int_model(config).pictures(image(config))["x.gate.norm"].shape == (2, 64, 128)
