# SPDX-License-Identifier: Apache-2.0
"""Scaling on scales: the driver equals the reference to the bit, and the reference equals PyTorch's pooling."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from golden.device import GoldenDevice
from golden.model.float_model import run_float
from golden.model.scales import scaled
from golden.model.synthetic import synthetic_model
from golden.spec.machine import NANO as MACHINE
from golden.spec.model import NANO
from host.driver.errors import InputError
from host.driver.scales import run_scales
from host.driver.session import Session
from tests.host.support.devices import compiled, picture

PLAIN = replace(NANO, name="plain", moe_layers=(), tasks=("default",), extra_tokens=2)


def pictures(config, scales, seed=3):
    return {s: picture(replace(config, image_height=s * config.image_height, image_width=s * config.image_width), seed)
            for s in scales}


@pytest.mark.parametrize("config", [NANO, PLAIN], ids=lambda v: v.name)
@pytest.mark.parametrize("scales", [(1, 2), (3,), (2, 1, 3)])
def test_the_driver_equals_the_reference(config, scales):
    network, image = compiled(config)
    session, seen = Session(image, GoldenDevice(MACHINE)), pictures(config, scales)
    heard = []
    result = run_scales(session, seen, progress=lambda done, jobs: heard.append((done, jobs)))
    assert result.features.dtype == np.float32
    assert result.features.shape == (config.tokens, len(scales) * config.dim)
    np.testing.assert_array_equal(result.features, scaled(config, network.features, seen))
    jobs = sum(s * s for s in scales)
    assert heard == [(i, jobs) for i in range(1, jobs + 1)] and result.jobs == jobs and result.scales == scales


def test_all_tasks_of_a_program():
    network, image = compiled()
    seen = pictures(NANO, (1, 2))
    result = run_scales(Session(image, GoldenDevice(MACHINE)), seen, "task0+task1")
    assert list(result.by_task) == ["task0", "task1"]
    for task, features in result.by_task.items():
        np.testing.assert_array_equal(features, scaled(NANO, partial(network.features, task=task), seen))


def test_the_reference_is_average_pooling_of_a_large_map():
    """One channel of the parts' maps side by side, by PyTorch; scale 1 is the network itself."""
    model, seen = synthetic_model(PLAIN, seed=4), pictures(PLAIN, (1, 2))
    (rows, columns), dim, extra = PLAIN.grid, PLAIN.dim, PLAIN.extra_tokens
    found = scaled(PLAIN, lambda part: run_float(model, part)[0], seen)
    np.testing.assert_array_equal(found[:, :dim], run_float(model, seen[1])[0])
    h, w = PLAIN.image_height, PLAIN.image_width
    parts = [run_float(model, seen[2][y:y + h, x:x + w])[0] for y in (0, h) for x in (0, w)]
    maps = [torch.tensor(part[extra:].reshape(rows, columns, dim)).permute(2, 0, 1) for part in parts]
    large = torch.cat([torch.cat(maps[:2], 2), torch.cat(maps[2:], 2)], 1)
    wanted = avg_pool2d(large, 2).permute(1, 2, 0).reshape(rows * columns, dim)
    np.testing.assert_allclose(found[extra:, dim:], wanted.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:extra, dim:], np.mean([part[:extra] for part in parts], 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seen, words", [
    ({}, "like 1,2, not none"), ({0: picture()}, "of 1 to 16, like 1,2, not 0"), ({17: picture()}, "not 17"),
    ({1: picture(), 2: picture()}, r"At scale 2 the program wants a uint8 picture of shape \(64, 128, 3\); uint8 \(32"),
    ({1: picture().astype(float)}, "float64"), ({1: None}, "NoneType came")])
def test_refusals(seen, words):
    with pytest.raises(InputError, match=words):
        run_scales(Session(compiled()[1], GoldenDevice(MACHINE)), seen)
