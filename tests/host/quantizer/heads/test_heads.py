# SPDX-License-Identifier: Apache-2.0
"""Task heads in the quantizer: errors of their results, the emulation against the integer network, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.float_model import run_heads
from golden.model.params import FloatModel
from golden.model.synthetic import synthetic_model
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO, ConfigError
from golden.spec.quantized import HeadPlan, Plan
from host.quantizer.crops import crops
from host.quantizer.heads import maps
from host.quantizer.heads.head import head_pictures
from host.quantizer.quantize import quantize
from host.quantizer.value_ranges import NotQuantizable

HEADS = (HeadConfig("task0", "semseg", 7, 64), HeadConfig("task1", "depth", 1, 64))
CONFIG = replace(NANO, name="nano-heads", image_height=64, image_width=128, patch=16, task_heads=HEADS)
LEAST_SQNR = {"fast": {"task0": 28.0, "task1": 30.0}, "accurate": {"task0": 30.0, "task1": 32.0}}
"""Of each result about its mean, in dB."""


@pytest.fixture(scope="module")
def model():
    return synthetic_model(CONFIG, seed=2)


@pytest.fixture(scope="module")
def images():
    return crops(CONFIG, 12)


class Recorder:
    """Integer maps that the quantizer computed, in order."""

    def __init__(self):
        self.found, self.inner = [], maps.convolved

    def __call__(self, grid, function, dtype):
        result = self.inner(grid, function, dtype)
        if (grid == grid.round()).all():  # the float stream's maps are not whole
            self.found.append(result)
        return result


@pytest.fixture(scope="module")
def plans(model, images):
    """Integer models, the maps that the quantizer's emulation had on the way, and the findings."""
    results = {}
    for plan in LEAST_SQNR:
        with pytest.MonkeyPatch.context() as patch:
            recorder, findings = Recorder(), []
            patch.setattr(maps, "convolved", recorder)
            results[plan] = quantize(model, images, plan, report=findings.append), recorder.found, findings
    return results


def decibels(wanted, found):
    spread = wanted - wanted.mean((0, 2, 3), keepdims=True)
    return 10 * np.log10((spread ** 2).sum() / ((found - wanted) ** 2).sum())


@pytest.fixture(scope="module")
def errors(model, plans):
    unseen = np.stack(crops(CONFIG, 20, seed=9)[16:])
    wanted, result = run_heads(model, unseen), {}
    for plan, (integer, _, _) in plans.items():
        found = [integer.pictures(image) for image in unseen]
        result[plan] = {name: decibels(wanted[name], np.stack([one[name] for one in found])) for name in wanted}
    return result


@pytest.mark.parametrize("plan", LEAST_SQNR)
def test_error_on_unseen_pictures_stays_under_its_threshold(plan, errors):
    for name, least in LEAST_SQNR[plan].items():
        assert errors[plan][name] >= least


def test_the_accurate_plan_is_more_accurate(errors):
    assert all(errors["accurate"][name] > errors["fast"][name] for name in errors["fast"])


def test_good_heads_give_no_finding(plans):
    assert [str(finding) for plan in plans for finding in plans[plan][2]] == []


@pytest.mark.parametrize("plan", LEAST_SQNR)
def test_the_emulation_equals_the_integer_network(plan, plans, images):
    integer, found, _ = plans[plan]
    assert len(found) == 8
    for number, place in enumerate(head_pictures(CONFIG, len(images), 1 << 18)[:3]):
        for head, own in zip(HEADS, (found[:4], found[4:]), strict=True):
            seen = {}
            integer.run(images[place], head.task, seen.__setitem__)
            for layer, emulated in enumerate(own):
                assert (emulated[number].flatten(0, 1).numpy() == seen[f"heads.{head.task}.conv_{layer}"]).all()


def test_results_have_the_fraction_bits_that_their_range_allows(model, plans, images):
    for integer, _, _ in plans.values():
        for name, result in run_heads(model, np.stack(images)).items():
            frac = integer.plan.task_heads[[head.task for head in HEADS].index(name)].frac
            assert 2 ** 12 < np.abs(result).max() * 2 ** frac < 2 ** 15


def test_heads_that_share_one_pass_and_a_mixed_plan(images):
    heads = (HEADS[0], HeadConfig("normals", "normals", 3, 32))
    config = replace(CONFIG, moe_layers=(), tasks=("default",), depth=1, task_heads=heads)
    model = synthetic_model(config, seed=1)
    progress = []
    mixed = quantize(model, images[:8], "mixed", progress=lambda *step: progress.append(step))
    assert progress[:3] == [(1, 3, "block 0"), (2, 3, "head task0"), (3, 3, "head normals")]
    wanted, found = run_heads(model, images[0][None]), mixed.pictures(images[0])
    assert all(decibels(wanted[name], found[name][None]) > 20 for name in wanted)


def test_a_plan_of_ones_own_keeps_its_fraction_bits(model, images):
    plan = Plan.fast(2, HEADS)
    own = replace(plan, task_heads=(HeadPlan(frac=5), HeadPlan(norm=True, frac=4)))
    assert quantize(model, images[:2], own).plan == own
    with pytest.raises(ConfigError, match="describes 0 task heads, the model has 2"):
        quantize(model, images[:2], Plan.fast(2))


def test_results_beyond_every_step_are_refused(model, images):
    tensors = model.tensors | {"heads.task1.conv_4.bias": np.full(1, 40000, np.float32)}
    with pytest.raises(NotQuantizable, match="results of task head 'task1' reach 4.*Check its conv_4"):
        quantize(FloatModel(CONFIG, tensors), images[:2])
    tensors = model.tensors | {"heads.task0.conv_2.weight": np.full((64, 64, 3, 3), 3e38, np.float32)}
    with pytest.raises(NotQuantizable, match="task head 'task0' of the float network itself"):
        quantize(FloatModel(CONFIG, tensors), images[:2])


@pytest.mark.parametrize("change", [
    {"heads.task0.conv_1.weight": 0.0, "heads.task0.conv_1.bias": -1.0}, {"heads.task0.norm.weight": 0.0},
    {"heads.task1.conv_4.weight": 0.0}, {"heads.task1.conv_3.bias": -1000.0}])
def test_degenerate_heads_quantize(change, model, images):
    """A map that is 0 everywhere, a norm without gain, a constant result."""
    tensors = dict(model.tensors)
    for name, value in change.items():
        tensors[name] = np.full_like(tensors[name], value)
    broken = FloatModel(CONFIG, tensors)
    wanted, found = run_heads(broken, images[0][None]), quantize(broken, images[:2]).pictures(images[0])
    for name in wanted:
        assert np.abs(found[name] - wanted[name][0]).max() < 0.15 * max(1.0, np.abs(wanted[name]).max())


def test_fewer_pictures_are_used_where_maps_are_large():
    assert head_pictures(CONFIG, 96, 1 << 18).tolist() == list(range(96))
    assert len(head_pictures(replace(CONFIG, image_height=128, image_width=256), 96, 1 << 18)) == 32
    large = replace(CONFIG, image_height=480, image_width=640)
    assert head_pictures(large, 15, 1 << 18).tolist() == list(range(0, 15, 2))
