# SPDX-License-Identifier: Apache-2.0
"""The trained model that comes with the package: its file, its notes, and its accuracy on scenes of another series."""

import pytest

from golden.files import safetensors_file
from golden.model.store import read_notes
from host.datasets.scene_set import SceneSet
from host.evaluation.evaluate import evaluate
from host.importers import import_checkpoint
from host.models import STREET_MODEL, default_model
from host.models.calibration import calibration_pictures, trained_on_scenes
from host.quantizer.quantize import quantize
from host.scenes.classes import CLASSES
from host.training.recipe import STREET, Recipe

SERIES = 3
"""Scenes that neither training, nor validation, nor ``make accuracy`` sees."""
LARGEST = 25e6


def test_it_is_there_and_small():
    assert default_model() == STREET_MODEL and STREET_MODEL.stat().st_size <= LARGEST
    entries = safetensors_file.inspect(STREET_MODEL)[0]
    assert {entry.dtype for entry in entries.values()} == {"F16"}


def test_its_notes_tell_how_it_was_made():
    notes = read_notes(STREET_MODEL)
    assert notes["recipe"].keys() == Recipe().to_json().keys() and notes["classes"] == [c.name for c in CLASSES]
    assert notes["steps"] == notes["recipe"]["steps"] and notes["figures"]["miou"] > 0.6
    assert trained_on_scenes(STREET_MODEL)


def test_it_is_the_model_of_the_recipe():
    assert import_checkpoint(STREET_MODEL).config == STREET


@pytest.mark.slow
def test_accuracy_on_unseen_scenes(tmp_path):
    model, scenes = import_checkpoint(STREET_MODEL), SceneSet(24, SERIES, 128, 256)
    shown = calibration_pictures(model.config, scenes=True, count=16)[0]
    quantize(model, shown, "fast").save(tmp_path / "q.safetensors")
    real = evaluate(STREET_MODEL, scenes, workers=1).figures(scenes.classes)
    whole = evaluate(tmp_path / "q.safetensors", scenes, "golden", workers=1).figures(scenes.classes)
    assert real["semseg"]["miou"] >= 0.65 and real["depth"]["rmse_over_predicting_the_mean"] <= 0.5
    assert real["semseg"]["miou"] - whole["semseg"]["miou"] <= 0.015
    assert whole["depth"]["rmse"] <= 1.04 * real["depth"]["rmse"]
