# SPDX-License-Identifier: Apache-2.0
"""Nested FFNs: float and quantized networks of the first neurons, against FFNs written out in numpy."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.float_model import run_float
from golden.model.int_checks import OutOfRange
from golden.model.nested import narrow, narrow_float
from golden.model.random_int_model import random_int_model
from golden.model.synthetic import synthetic_model
from golden.spec.model import NANO, ConfigError
from golden.spec.quantized import Plan
from host.quantizer.quantize import quantize

WIDE = replace(NANO, mlp_hidden=256, expert_hidden=128)


def picture(config, seed=5):
    shape = (config.image_height, config.image_width, config.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("width, mlp, expert", [
    (1, 256, 128), (0.5, 128, 64), (0.51, 160, 96), (0.001, 32, 32), (0.375, 96, 64), (0.125, 32, 32)])
def test_a_width_is_rounded_up_to_whole_tiles(width, mlp, expert):
    config = WIDE.narrowed(width)
    assert (config.mlp_hidden, config.expert_hidden) == (mlp, expert)


def test_decimal_fractions_are_exact():
    assert replace(NANO, mlp_hidden=320).narrowed(0.1).mlp_hidden == 32  # 0.1 as a float is a little more
    assert replace(NANO, mlp_hidden=960).narrowed(0.7).mlp_hidden == 672


@pytest.mark.parametrize("width", [0, -0.5, 1.01, float("nan"), float("inf")])
def test_no_other_width(width):
    with pytest.raises(ConfigError, match="must lie above 0 and be at most 1"):
        NANO.narrowed(width)


def test_the_float_network_equals_the_whole_one_without_the_other_neurons():
    """Neurons whose outgoing weights are zero do not count."""
    whole = synthetic_model(WIDE, seed=1)
    muted = {name: tensor.copy() for name, tensor in whole.tensors.items()}
    for i in range(WIDE.depth):
        muted[f"blocks.{i}.mlp.fc2.weight"][..., WIDE.ffn_hidden(i) // 2:] = 0
    pixels = picture(WIDE)
    np.testing.assert_allclose(run_float(narrow_float(whole, 0.5), pixels),
                               run_float(replace(whole, tensors=muted), pixels), atol=1e-4)


def test_absent_neurons_leave_their_weights_times_offsets():
    whole = random_int_model(WIDE, Plan.fast(WIDE.depth), seed=2)
    part = narrow(whole, 0.5)
    for i in range(WIDE.depth):
        name, kept = f"blocks.{i}.mlp", WIDE.ffn_hidden(i) // 2
        weight, offset, shift = (whole[f"{name}.{key}"] for key in ("fc2.weight", "fc1.offset", "fc1.shift2"))
        for place in np.ndindex(part.rest[name].shape):
            row = weight[place][kept:]
            total = sum(int(w) * int(o) for w, o in zip(row, offset[place[:-1]][kept:], strict=True))
            assert part.rest[name][place] == (total + (1 << int(shift) >> 1)) >> int(shift)
        assert part.rest[name].any()
        np.testing.assert_array_equal(part[f"{name}.fc2.bias"], whole[f"{name}.fc2.bias"])


def test_a_whole_network_stays_itself_and_a_narrow_one_has_no_file(tmp_path):
    whole = random_int_model(NANO)
    assert narrow(whole, 1) is whole
    part = narrow(whole, 0.5)
    with pytest.raises(ConfigError, match="no file of its own"):
        part.save(tmp_path / "x")
    with pytest.raises(ConfigError, match="Only a whole network"):
        narrow(part, 0.5)


def test_a_rest_that_no_accumulator_holds_is_refused():
    whole = random_int_model(NANO)
    tensors = dict(whole.tensors)
    tensors["blocks.0.mlp.fc1.offset"] = np.full_like(whole["blocks.0.mlp.fc1.offset"], 2 ** 31 - 1)
    tensors["blocks.0.mlp.fc1.shift2"] = np.int32(0)
    tensors["blocks.0.mlp.fc2.weight"] = np.abs(whole["blocks.0.mlp.fc2.weight"])
    with pytest.raises(OutOfRange, match="leave up to"):
        narrow(replace(whole, tensors=tensors), 0.5)


@pytest.mark.parametrize("plan", ["fast", "accurate"])
def test_a_narrow_quantized_network_is_near_the_narrow_float_one(plan):
    """As near as the whole quantized network is to the whole float one, within a factor; without the rest it is not."""
    model = synthetic_model(WIDE, seed=3)
    pictures = np.stack([picture(WIDE, seed) for seed in range(4)])
    whole, pixels = quantize(model, pictures, plan), picture(WIDE)

    def error(width, network):
        wanted = run_float(narrow_float(model, width), pixels)[0]
        return float(np.sqrt(np.mean((network.features(pixels) - wanted) ** 2)) / wanted.std())

    full, half = error(1, whole), error(0.5, narrow(whole, 0.5))
    lacking = error(0.5, replace(narrow(whole, 0.5), rest={}))
    assert half < 3 * full + 0.01 and lacking > 3 * half, (full, half, lacking)
