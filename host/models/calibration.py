# SPDX-License-Identifier: Apache-2.0
"""Pictures to calibrate the quantizer with: scenes for models that were trained on scenes, else photographs."""

from pathlib import Path

import numpy as np

from golden.files.errors import ModelFileError
from golden.model.store import is_float_file, read_notes
from golden.spec.model import ModelConfig
from host.datasets.scene_set import SceneSet
from host.models import SCENE_DATA
from host.quantizer.crops import crops

SCENES = 48
"""Scenes of the training series to calibrate on."""
TRAINING_SERIES = 0


def trained_on_scenes(path: Path) -> bool:
    """Whether a model file's notes say that it was trained on rendered street scenes."""
    try:
        return is_float_file(path) and read_notes(path).get("data") == SCENE_DATA
    except (ModelFileError, OSError):
        return False


def calibration_pictures(config: ModelConfig, scenes: bool, count: int | None = None) -> tuple[list[np.ndarray], str]:
    """Pictures uint8 [H, W, C] of the model's size, and what they are, in words. ``count``: if not the usual one."""
    if not scenes:
        return crops(config, count), "photographs"
    series = SceneSet(count or SCENES, TRAINING_SERIES, config.image_height, config.image_width)
    return [series.read(index).image for index in range(len(series))], "rendered street scenes of the training series"
