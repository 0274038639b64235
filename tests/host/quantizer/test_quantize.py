# SPDX-License-Identifier: Apache-2.0
"""The quantizer: the same bytes every time, plans in their order of cost and error, refusals in sentences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.model.float_model import run_float
from golden.model.int_model import IntModel, dequantize
from golden.model.synthetic import synthetic_model
from golden.spec.machine import NANO as MACHINE
from golden.spec.model import MODELS, ConfigError
from golden.spec.quantized import Plan
from golden.spec.tables import WEIGHT_LEVELS
from host.quantizer.crops import crops
from host.quantizer.layer import Options
from host.quantizer.linear import Rounding
from host.quantizer.mixed_precision import frame_cycles, joined, mixed
from host.quantizer.quantize import quantize
from host.quantizer.rounding import CLIPPING, clipping_steps, round_compensated, row_steps

NANO = replace(MODELS["nano"], name="nano-deep", depth=4, moe_layers=(1, 3))
LEAST_SQNR = {"fast": 24.0, "accurate": 30.0}


@pytest.fixture(scope="module")
def model():
    return synthetic_model(NANO, seed=2)


@pytest.fixture(scope="module")
def images():
    return crops(NANO, 8)


@pytest.fixture(scope="module")
def plans(model, images):
    return {plan: quantize(model, images, plan) for plan in LEAST_SQNR}


def error(model, integer, images) -> tuple[float, float]:
    """Median over unseen pictures and tasks of MSE, and SQNR in dB."""
    found = []
    for image in images:
        for task in model.config.tasks:
            wanted = run_float(model, image[None], task)[0]
            mse = float(np.mean((dequantize(integer.run(image, task)) - wanted) ** 2))
            found.append((mse, 10 * np.log10(np.mean(wanted ** 2) / mse)))
    return tuple(float(v) for v in np.median(found, axis=0))


@pytest.fixture(scope="module")
def unseen():
    return crops(NANO, 20, seed=9)[14:]


@pytest.mark.parametrize("plan", LEAST_SQNR)
def test_error_on_unseen_pictures_stays_under_its_threshold(plan, model, plans, unseen):
    assert error(model, plans[plan], unseen)[1] >= LEAST_SQNR[plan]


def test_the_accurate_plan_is_more_accurate_and_costs_more(model, plans, unseen):
    fast, accurate = (error(model, plans[plan], unseen)[0] for plan in ("fast", "accurate"))
    assert accurate < fast
    assert frame_cycles(plans["accurate"]) > frame_cycles(plans["fast"])


def test_same_input_same_bytes(model, images, plans, tmp_path):
    plans["fast"].save(tmp_path / "a.safetensors")
    quantize(model, images, "fast").save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_file_round_trip(plans, tmp_path, images):
    plans["fast"].save(tmp_path / "m.safetensors")
    again = IntModel.load(tmp_path / "m.safetensors")
    assert again.plan == plans["fast"].plan
    assert np.array_equal(again.run(images[0]), plans["fast"].run(images[0]))


def test_mixed_plan_lies_between_in_cost_and_keeps_its_budget(model, images, plans):
    def cost(integer):
        return frame_cycles(integer, MACHINE)

    def made(budget):
        return mixed(plans["fast"], plans["accurate"], stack, lambda probes: run_float(model, probes), budget, MACHINE)

    least, most, stack = cost(plans["fast"]), cost(plans["accurate"]), np.stack(images)
    between = made(None)
    assert least < cost(between) <= (least + most) // 2
    assert 0 < sum(layer != plans["fast"].plan.layers[0] for layer in between.plan.layers) < NANO.depth
    seen = np.stack(images[::2])
    wanted = run_float(model, seen)
    errors = [np.mean((dequantize(np.stack([m.run(i) for i in seen])) - wanted) ** 2)
              for m in (plans["fast"], between)]
    assert errors[1] < errors[0]
    assert made(least).plan == plans["fast"].plan
    with pytest.raises(ConfigError, match="cannot be met"):
        made(least - 1)


def test_joining_nothing_and_everything_gives_either_model(plans, images):
    fast, accurate = plans["fast"], plans["accurate"]
    assert np.array_equal(joined(fast, accurate, set()).run(images[0]), fast.run(images[0]))
    every = joined(fast, accurate, set(range(NANO.depth)))
    assert every.plan.layers == accurate.plan.layers


@pytest.mark.parametrize("pictures, plan, budget, text", [
    ([], "fast", None, "at least one"),
    ([np.zeros((8, 8, 3), np.uint8)], "fast", None, "of shape"),
    ([np.zeros((32, 64, 3), np.float32)], "fast", None, "uint8"),
    (None, "fastest", None, "The plan must be accurate, fast, mixed, w4 or a Plan"),
    (None, "fast", 1000, "cycle budget belongs to the mixed plan"),
])
def test_refusals(pictures, plan, budget, text, model, images):
    with pytest.raises(ConfigError, match=text):
        quantize(model, images if pictures is None else pictures, plan, cycle_budget=budget)


def test_weights_of_fewer_bits_lie_within_them_and_cost_accuracy(model, images, plans, unseen, tmp_path):
    narrow = quantize(model, images, "fast", weight_bits=6, expert_bits=4)
    peak = {name: int(np.abs(tensor.astype(np.int16)).max()) for name, tensor in narrow.tensors.items()
            if name.endswith(".weight") and ".gate." not in name}
    for name, largest in peak.items():
        moe = ".mlp." in name and NANO.is_moe(int(name.split(".")[1]))
        assert largest == (127 if name == "patch_embed.weight" else 12 if moe else 31), name
    assert error(model, plans["fast"], unseen)[0] < error(model, narrow, unseen)[0]
    narrow.save(tmp_path / "narrow.safetensors")
    assert IntModel.load(tmp_path / "narrow.safetensors").plan == Plan.fast(NANO.depth).with_bits(6, 4)
    with pytest.raises(ConfigError, match="expert_bits must be 4 to 8, not 9"):
        quantize(model, images, "fast", expert_bits=9)


def test_the_plan_w4_packs_experts_or_else_every_ffn(model, images, unseen):
    packed = quantize(model, images, "w4")
    assert packed.plan.layers == Plan.w4(NANO.depth).layers
    assert packed.plan.name(NANO) == "w4" and packed.plan.packed_parts(NANO) == ["experts"]
    assert np.isin(packed["blocks.1.mlp.fc1.weight"], WEIGHT_LEVELS).all()
    nearest = quantize(model, images, "w4", options=Options(rounding=Rounding(compensate=False)))
    assert error(model, packed, unseen)[0] < error(model, nearest, unseen)[0]
    dense = replace(NANO, moe_layers=(), experts=0, expert_hidden=0, top_k=0, tasks=("task0",))
    other = quantize(synthetic_model(dense, seed=4), images, "w4")
    assert other.plan.name(dense) == "w4" and other.plan.packed_parts(dense) == ["mlp"]
    assert np.isin(other["blocks.0.mlp.fc2.weight"], WEIGHT_LEVELS).all()
    assert np.abs(other["blocks.0.attn.q.weight"]).max() == 127


def test_a_row_is_clipped_where_that_leaves_less_error():
    """One large weight among small ones: steps that clip it are better, and the loss says so for each row alone."""
    gen = torch.Generator().manual_seed(3)
    weight = torch.randn(1, 6, 64, generator=gen, dtype=torch.float64)
    weight[0, :3, 5] = 20.0
    moment = torch.eye(64, dtype=torch.float64)[None] * 100
    moment[0, 5, 5] = 0.01  # an input that hardly varies
    step = row_steps(weight, 12)
    chosen = clipping_steps(weight, step, moment, 0.0, 4)
    assert (chosen[0, :3] == step[0, :3] * CLIPPING[-1]).all() and (chosen <= step).all()

    def loss(steps):
        error = weight - round_compensated(weight, steps, moment, 0.0, 4) * steps[..., None]
        return ((error @ moment) * error).sum(-1)

    assert (loss(chosen) <= torch.stack([loss(step * factor) for factor in CLIPPING]).amin(0) * (1 + 1e-9)).all()


def test_a_plan_of_ones_own(model, images):
    layers = list(Plan.fast(NANO.depth).layers)
    layers[0] = replace(layers[0], hidden=True, norm2=True)
    plan = Plan(tuple(layers))
    assert quantize(model, images[:4], plan).plan == plan
