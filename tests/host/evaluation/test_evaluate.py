# SPDX-License-Identifier: Apache-2.0
"""Evaluation of models on sets of pictures: parts add up, the float predictor is the float model, sizes are fitted."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.float_model import run_heads
from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO
from host.cli.output import flat
from host.datasets.folder import Sample
from host.datasets.scene_set import SceneSet
from host.evaluation.baseline import colour_classifier
from host.evaluation.evaluate import PART, evaluate
from host.evaluation.metrics import DepthSums, class_ious, confusion, mean_iou
from host.evaluation.result import Result

CONFIG = replace(NANO, image_height=32, image_width=48, patch=16, tasks=("semseg", "depth"),
                 task_heads=(HeadConfig("semseg", "semseg", classes=7, channels=32),
                             HeadConfig("depth", "depth", classes=1, channels=32)))
SCENES = SceneSet(PART + 2, 4, 32, 48)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluate") / "a.safetensors"
    save_float(synthetic_model(CONFIG), path)
    return path


def test_float_model_on_scenes(model):
    seen = []
    result = evaluate(model, SCENES, workers=1, report=lambda done, total: seen.append((done, total)))
    samples = [SCENES.read(i) for i in range(len(SCENES))]
    maps = run_heads(synthetic_model(CONFIG), np.stack([s.image for s in samples]))
    label, depth = (np.stack([getattr(s, kind) for s in samples]) for kind in ("label", "depth"))
    assert np.array_equal(result.matrices["semseg"], confusion(maps["semseg"].argmax(1), label, 7))
    assert result.depths["depth"].rmse == pytest.approx(DepthSums.of(maps["depth"][:, 0], depth).rmse, rel=1e-5)
    assert result.pictures == len(SCENES) and seen == [(PART, PART + 2), (PART + 2, PART + 2)]
    figures = result.figures(SCENES.classes)
    assert figures["semseg"]["miou"] == mean_iou(result.matrices["semseg"])
    assert list(figures["semseg"]["iou"]) == list(SCENES.classes)
    mean = DepthSums.of(np.full_like(depth, depth[depth > 0].astype(float).mean()), depth).rmse
    assert figures["depth"]["rmse_over_predicting_the_mean"] == pytest.approx(figures["depth"]["rmse"] / mean, rel=1e-3)


def test_results_of_parts_add_up():
    rng, parts = np.random.default_rng(0), []
    whole = Result()
    for _ in range(3):
        maps = {"semseg": rng.random((7, 32, 48)), "depth": rng.random((1, 32, 48)) * 50}
        sample = Sample("", np.zeros((32, 48, 3), np.uint8), rng.integers(0, 7, (32, 48)).astype(np.uint8),
                        rng.random((32, 48)).astype(np.float32) * 50)
        parts.append(Result())
        for result in (parts[-1], whole):
            result.add(maps, sample, CONFIG.task_heads)
    assert flat(sum(parts, Result()).figures()) == pytest.approx(flat(whole.figures()), rel=1e-12)


def test_pictures_without_maps_have_no_figures(model):
    result = Result()
    result.add({"semseg": np.zeros((7, 2, 2)), "depth": np.zeros((1, 2, 2))},
               Sample("", np.zeros((2, 2, 3), np.uint8), None, None), CONFIG.task_heads)
    assert result.figures() == {"pictures": 1}


def test_other_sizes_are_fitted():
    label = np.arange(16, dtype=np.uint8).repeat(4).reshape(1, 64).repeat(64, 0)
    sample = Sample("", np.zeros((64, 64, 3), np.uint8), label, label.astype(np.float32)).at_size(32, 48)
    assert sample.image.shape == (32, 48, 3) and sample.label.shape == sample.depth.shape == (32, 48)
    assert sample.label[0, :6].tolist() == [0, 0, 0, 1, 1, 1]


def test_colour_classifier():
    matrix = colour_classifier(SceneSet(6, 0, 32, 48), SceneSet(4, 1, 32, 48))
    assert matrix.sum() == 4 * 32 * 48 and 0.05 < mean_iou(matrix) < 0.5 and len(class_ious(matrix)) == 7
