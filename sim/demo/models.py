# SPDX-License-Identifier: Apache-2.0
"""The demonstration's models and picture: the reference folder when it is there, else seeded weights, a photograph."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.model.reference_data import reference_folder, reference_image
from golden.model.synthetic import synthetic_model
from golden.spec.model import MODELS, ModelConfig, require
from host.images import fitted, read_picture
from host.importers import import_checkpoint
from host.quantizer import quantize as quantizer
from host.quantizer.crops import crops, photograph
from sim.runner import BUILD


def float_model(name: str) -> tuple[FloatModel, str]:
    """The model called ``name`` and where its weights come from, in words."""
    require(name in MODELS, f"There is no model {name!r}; there are {', '.join(MODELS)}.")
    folder = reference_folder()
    if name == "m3vit-tiny" and folder is not None:
        return import_checkpoint(folder, name=name), "trained weights of the reference folder"
    return synthetic_model(MODELS[name], seed=1), "seeded weights of realistic ranges"


def picture(path: Path | None, config: ModelConfig, source: str) -> tuple[np.ndarray, str]:
    """The picture to show, at the model's size, and its name."""
    if path is not None:
        return fitted(read_picture(path), config), str(path)
    folder = reference_folder()
    if folder is not None and source.startswith("trained"):
        return reference_image(folder), "street scene of the reference folder"
    return fitted(photograph("motorcycle"), config), "the motorcycle photograph of scikit-image"


def quantized(model: FloatModel, plan: str, progress: Callable) -> IntModel:
    """``model`` quantized under ``plan``, calibrated on photographs; kept on disk by weights and quantizer."""
    digest = hashlib.sha256(f"{plan} {model.config.fingerprint}".encode())
    for name in sorted(model.tensors):
        digest.update(model.tensors[name].tobytes())
    for source in sorted(Path(quantizer.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    path = BUILD.parent / "models" / f"{model.config.name}-{plan}-{digest.hexdigest()[:16]}.safetensors"
    if not path.exists():
        result = quantizer.quantize(model, crops(model.config), plan, progress=progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        result.save(path)
    return IntModel.load(path)
