# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the integer network and of devices: the same figures from each, a refusal for a float model."""

from dataclasses import replace

import numpy as np
import pytest

from golden.files.errors import UnknownLayout
from golden.model.random_int_model import random_int_model
from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO
from host.datasets.folder import Sample
from host.evaluation.evaluate import evaluate
from host.evaluation.predictors import DevicePredictor, predictor_of
from host.program import config_of

CONFIG = replace(NANO, patch=16, image_height=32, image_width=64, tasks=("semseg", "depth"), task_heads=(
    HeadConfig("semseg", "semseg", 3, 64), HeadConfig("depth", "depth", 1, 64)))


class Noise:
    """A small set of random pictures with random labels and depths."""

    classes = ("a", "b", "c")

    def __len__(self):
        return 2

    def read(self, index):
        rng = np.random.default_rng(index)
        return Sample(str(index), rng.integers(0, 256, (32, 64, 3), dtype=np.uint8),
                      rng.integers(0, 3, (32, 64), dtype=np.uint8), rng.uniform(1, 20, (32, 64)).astype(np.float32))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "nano.safetensors"
    random_int_model(CONFIG, seed=3).save(path)
    return path


def test_the_simulator_gives_the_integer_network_s_maps(model):
    """Golden device: the program on the instruction-set simulator, every map bit for bit."""
    reference, device = predictor_of(str(model), "golden"), DevicePredictor(str(model), "golden")
    for index in range(2):
        image = Noise().read(index).image
        wanted, found = reference(image), device(image)
        assert set(wanted) == set(found) == {"semseg", "depth"}
        for task, values in wanted.items():
            np.testing.assert_array_equal(values, found[task])


def test_figures_of_a_quantized_model(model):
    result = evaluate(model, Noise(), "golden", workers=1)
    figures = result.figures(Noise.classes)
    assert figures["pictures"] == 2 and 0 < figures["semseg"]["miou"] < 1 and figures["depth"]["rmse"] > 0
    assert result.matrices["semseg"].sum() == 2 * 32 * 64


def test_a_float_model_is_no_integer_network(tmp_path):
    path = tmp_path / "float.safetensors"
    save_float(synthetic_model(CONFIG), path)
    assert config_of(path) == CONFIG
    with pytest.raises(UnknownLayout, match="no quantized model.*edge-moe quantize"):
        predictor_of(str(path), "golden")
