# SPDX-License-Identifier: Apache-2.0
"""Metrics against loops over pixels; sums of parts equal those of the whole."""

import doctest
import math

import numpy as np
import pytest

from host.evaluation import metrics
from host.evaluation.metrics import DepthSums, Spread, class_ious, confusion, mean_iou

RNG = np.random.default_rng(1)


def test_examples():
    assert doctest.testmod(metrics).failed == 0


def test_iou_against_sets_of_pixels():
    predicted, label = RNG.integers(0, 4, (3, 8, 9)), RNG.integers(0, 4, (3, 8, 9))
    label[0, :2] = 255
    label[label == 3] = 1  # a class that only predictions have
    wanted = []
    for c in range(4):
        p = {tuple(i) for i in np.argwhere((predicted == c) & (label != 255))}
        t = {tuple(i) for i in np.argwhere(label == c)}
        wanted.append(len(p & t) / len(p | t))
    matrix = sum(confusion(p, t, 4) for p, t in zip(predicted, label, strict=True))
    assert np.array_equal(matrix, confusion(predicted, label, 4))
    assert class_ious(matrix).tolist() == wanted and wanted[3] == 0
    assert mean_iou(matrix) == pytest.approx(sum(wanted) / 4)


def test_absent_class_does_not_count():
    matrix = confusion(np.array([0, 1]), np.array([0, 1]), 3)
    assert math.isnan(class_ious(matrix)[2]) and mean_iou(matrix) == 1.0
    assert mean_iou(np.zeros((2, 2), np.int64)) == 0.0


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.1 or be 255"):
        confusion(np.array([0]), np.array([2]), 2)


def test_depth_against_a_loop():
    predicted, depth = RNG.uniform(-1, 30, (4, 50)), RNG.uniform(0.5, 30, (4, 50))
    depth[:, ::5] = 0
    pairs = [(p, d) for p, d in zip(predicted.ravel(), depth.ravel(), strict=True) if d > 0]
    found = sum((DepthSums.of(p, d) for p, d in zip(predicted, depth, strict=True)), DepthSums())
    assert found.pixels == len(pairs) == 160
    assert found.rmse == pytest.approx(math.sqrt(sum((p - d) ** 2 for p, d in pairs) / 160))
    assert found.log_rmse == pytest.approx(math.sqrt(sum((math.log(max(p, 1e-9)) - math.log(d)) ** 2
                                                         for p, d in pairs) / 160))
    assert found.mean_error == pytest.approx(sum(abs(p - d) for p, d in pairs) / 160)
    assert found.relative_error == pytest.approx(sum(abs(p - d) / d for p, d in pairs) / 160)


def test_predicting_the_mean_gives_the_deviation():
    depth = RNG.uniform(1, 30, 100)
    spread = Spread()
    spread.add(depth[:40])
    spread.add(depth[40:])
    assert DepthSums.of(np.full(100, spread.mean), depth).rmse == pytest.approx(spread.deviation)


def test_an_empty_set_has_no_error():
    assert DepthSums().rmse == DepthSums().relative_error == Spread().deviation == 0
