# SPDX-License-Identifier: Apache-2.0
"""The demonstration's models and pictures: the street model and its scenes, the reference folder, or seeded weights."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.model.reference_data import reference_folder, reference_image
from golden.model.synthetic import synthetic_model
from golden.spec.model import MODELS, ModelConfig, require
from golden.spec.quantized import FORMAT_VERSION, Plan
from host import images
from host.datasets.folder import Sample
from host.datasets.scene_set import SceneSet
from host.images import fitted, read_picture
from host.importers import import_checkpoint
from host.models import STREET_MODEL, default_model
from host.models.calibration import calibration_pictures
from host.quantizer import quantize as quantizer
from host.quantizer.crops import photograph
from host.training.recipe import STREET
from sim.runner import BUILD

SHOWN_SERIES, SHOWN = 1, 0
"""The scene to show: of a series that training has not seen."""
SEEDED_CROPS = 16
"""Calibration pictures of a model that was never trained: enough for its ranges."""


def names() -> list[str]:
    """Models of the demonstration, the usual one first: the street model where the checkout has it."""
    return [*([STREET.name] if default_model() else []), *MODELS]


def float_model(name: str) -> tuple[FloatModel, str]:
    """The model called ``name`` and where its weights come from, in words."""
    require(name in names(), f"There is no model {name!r}; there are {', '.join(names())}.")
    if name == STREET.name:
        return import_checkpoint(STREET_MODEL), "trained on rendered street scenes"
    folder = reference_folder()
    if name == "m3vit-tiny" and folder is not None:
        return import_checkpoint(folder, name=name), "trained weights of the reference folder"
    return synthetic_model(MODELS[name], seed=1), "seeded weights of realistic ranges"


def picture(path: Path | None, config: ModelConfig, source: str) -> tuple[Sample, str]:
    """The picture to show, at the model's size, with what is known about it, and its name."""
    if path is None and config.name == STREET.name:
        scenes = SceneSet(SHOWN + 1, SHOWN_SERIES, config.image_height, config.image_width)
        return scenes.read(SHOWN), "a rendered street scene"
    pixels, name = _pixels(path, config, source)
    return Sample(name, pixels, None, None), name


def _pixels(path: Path | None, config: ModelConfig, source: str) -> tuple[np.ndarray, str]:
    if path is not None:
        return fitted(read_picture(path), config), str(path)
    folder = reference_folder()
    if folder is not None and source.startswith("trained"):
        return reference_image(folder), "street scene of the reference folder"
    return fitted(photograph("motorcycle"), config), "the motorcycle photograph of scikit-image"


def quantized(model: FloatModel, plan: str, progress: Callable, trained: bool = True, *,
              layers: Plan | None = None) -> IntModel:
    """``model`` quantized under ``plan``, which is the name of ``layers`` where these are given; calibrated on scenes
    it was trained on, or on photographs, fewer for seeded weights; kept on disk by weights and quantizer."""
    digest = hashlib.sha256(f"{plan} {trained} {model.config.fingerprint} {FORMAT_VERSION}".encode())
    for name in sorted(model.tensors):
        digest.update(model.tensors[name].tobytes())
    for source in (Path(images.__file__), *sorted(Path(quantizer.__file__).parent.rglob("*.py"))):
        digest.update(source.read_bytes())
    path = BUILD.parent / "models" / f"{model.config.name}-{plan}-{digest.hexdigest()[:16]}.safetensors"
    if not path.exists():
        crops = None if trained else SEEDED_CROPS
        shown = calibration_pictures(model.config, model.config.name == STREET.name, crops)[0]
        result = quantizer.quantize(model, shown, layers or plan, progress=progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        result.save(path)
    return IntModel.load(path)
