# SPDX-License-Identifier: Apache-2.0
"""Results by name: maps at the picture's size, exact, and what they mean."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.ops import upsample
from golden.spec import machine, model
from golden.spec.heads import HeadConfig
from golden.spec.quantized import HeadPlan, Plan
from host.compiler.compile import compile_model
from host.driver.device import open_device
from host.driver.maps import TaskMap, doubled
from host.driver.session import Session
from tests.host.support.compiled import picture

KINDS = {"semseg": 7, "depth": 1, "edge": 1, "saliency": 1, "normals": 3}


def task_map(kind, classes, seed=0):
    codes = np.random.default_rng(seed).integers(-1 << 15, 1 << 15, (6, 10, classes)).astype(np.int16)
    return TaskMap("x", kind, codes, 9)


def test_the_last_enlargement_is_the_specified_one():
    codes = task_map("depth", 3).codes
    codes[:2] = -1 << 15
    np.testing.assert_array_equal(doubled(codes), upsample.doubled(codes))
    scores = TaskMap("x", "depth", codes, 9).scores
    assert scores.dtype == np.float32 and scores.shape == (12, 20, 3)
    np.testing.assert_array_equal(scores.astype(np.float64), upsample.doubled(codes) / 2 ** 13)


def test_meanings():
    classes = task_map("semseg", 7)
    assert classes.picture.dtype == np.uint8 and classes.picture.shape == (12, 20)
    np.testing.assert_array_equal(classes.picture, upsample.doubled(classes.codes).argmax(-1))
    assert task_map("semseg", 300).picture.dtype == np.uint16
    same = TaskMap("x", "semseg", np.zeros((2, 2, 4), np.int16), 9)
    assert not same.picture.any()  # the first of equal ones
    np.testing.assert_array_equal(task_map("depth", 1).picture, task_map("depth", 1).scores[..., 0])
    for kind in ("edge", "saliency"):
        odds = task_map(kind, 1)
        np.testing.assert_allclose(odds.picture, 1 / (1 + np.exp(-odds.scores[..., 0].astype(float))), atol=1e-6)
    normals = TaskMap("x", "normals", np.concatenate([task_map("normals", 3).codes, np.zeros((2, 10, 3), np.int16)]), 9)
    length = np.linalg.norm(normals.picture, axis=-1)
    assert np.allclose(length[:12], 1, atol=1e-6) and not length[-2:].any()
    assert all(task_map(kind, count).picture.dtype == np.float32 for kind, count in KINDS.items() if kind != "semseg")


@pytest.mark.parametrize("rows", [192, 6144], ids=["through DRAM", "on chip"])
def test_a_session_gives_every_head_by_name(rows):
    heads = tuple(HeadConfig(kind, kind, count, 64) for kind, count in KINDS.items())
    config = replace(model.NANO, image_height=32, image_width=64, patch=16, tasks=("all",), task_heads=heads,
                     classes=3, final_norm=True)
    plan = replace(Plan.fast(2), task_heads=tuple(HeadPlan(last=i % 2 > 0, frac=6 + i) for i in range(len(heads))))
    network, target = random_int_model(config, plan), replace(machine.ZCU102, operand_rows=rows, program_depth=2048)
    image = compile_model(network, target)
    assert image.reads_output() == (rows < 6144)
    session = Session(image, open_device("golden", machine=target))
    pixels = picture(config)
    result, wanted = session.run(pixels), network.pictures(pixels)
    assert list(result) == [*KINDS, "features", "normed_features", "logits"] and len(result) == 8
    for kind in KINDS:
        np.testing.assert_array_equal(result.maps[kind].scores.transpose(2, 0, 1), wanted[kind])
        assert result[kind].shape[:2] == (32, 64)
    np.testing.assert_array_equal(result["semseg"], wanted["semseg"].argmax(0))
    np.testing.assert_array_equal(result["depth"], wanted["depth"][0])
    np.testing.assert_array_equal(result["features"], network.features(pixels))
    assert result["logits"].shape == (3,)
    with pytest.raises(KeyError, match="This result has semseg, depth, .*, not 'colour'"):
        result["colour"]


def test_both_tasks_of_a_joint_program():
    config = replace(model.NANO, image_height=32, image_width=64, patch=16, tasks=("semseg", "depth"), task_heads=(
        HeadConfig("semseg", "semseg", 7, 64), HeadConfig("depth", "depth", 1, 64)))
    network = random_int_model(config)
    image = compile_model(network, machine.ZCU102)
    session = Session(image, open_device("golden", machine=machine.ZCU102))
    result, wanted = session.run(picture(config), "semseg+depth"), network.pictures(picture(config))
    np.testing.assert_array_equal(result["semseg"], wanted["semseg"].argmax(0))
    np.testing.assert_array_equal(result["depth"], wanted["depth"][0])
    assert set(result.by_task) == {"semseg", "depth"} and set(session.run(picture(config), "depth").maps) == {"depth"}
