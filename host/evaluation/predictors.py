# SPDX-License-Identifier: Apache-2.0
"""Predictors: what computes the maps of a picture, from a model file: float, the integer network, or a device."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from golden.files.errors import UnknownLayout
from golden.spec.model import ModelConfig
from host.program import is_program, is_quantized, program_of


class Predictor(Protocol):
    """Computes the maps of all heads, float [M, H, W] by task, of a picture uint8 [H, W, C] of the model's size."""

    config: ModelConfig

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]: ...


class FloatPredictor:
    """The float model, on one thread."""

    def __init__(self, path: str):
        import torch

        from golden.model.float_model import M3ViT
        from host.importers import import_checkpoint
        torch.set_num_threads(1)  # parts of the set run in parallel
        model = import_checkpoint(path)
        self.config, self.network = model.config, M3ViT(model).eval()

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        import torch

        from golden.model.float_model import to_pixels
        maps: dict[str, np.ndarray] = {}
        with torch.inference_mode():
            for task in self.config.tasks:
                if heads := self.config.heads_of(task):
                    stream = self.network(to_pixels(self.config, image), task)
                    maps |= {head.task: self.network.maps(stream, head.task)[0].numpy() for head in heads}
        return maps


class GoldenPredictor:
    """The integer network, whose results every device gives bit for bit. Raises UnknownLayout for a float model."""

    def __init__(self, path: str):
        from golden.model.int_model import IntModel
        if is_program(path) or not is_quantized(path):
            raise UnknownLayout(f"{path} is no quantized model, which the integer network needs: make one with "
                                f"`edge-moe quantize`, with pictures of the set for --images.")
        self.model = IntModel.load(path)
        self.config = self.model.config

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return self.model.pictures(image)


class DevicePredictor:
    """A device, as :func:`host.driver.open_device` names it, with the program of a quantized model or an image."""

    def __init__(self, path: str, device: str):
        from host.driver import Session, open_device
        from host.progress import opening
        image = program_of(Path(path))
        self.config = image.model
        together = "+".join(self.config.tasks)
        self.programs = [together] if together in image.programs else list(self.config.tasks)
        self.board = open_device(device, machine=image.machine, progress=opening)
        self.session = Session(image, self.board)

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        results = [self.session.frame(image, program) for program in self.programs]
        return {name: found.scores.transpose(2, 0, 1) for result in results for name, found in result.maps.items()}


MODELS: dict[str, Callable[[str], Predictor]] = {"float": FloatPredictor, "golden": GoldenPredictor}
"""Predictors that are only arithmetic: parts of a set run in parallel."""


@lru_cache(maxsize=1)
def predictor_of(model: str, device: str) -> Predictor:
    """The predictor of a model file; a process keeps the last one."""
    return MODELS[device](model) if device in MODELS else DevicePredictor(model, device)
