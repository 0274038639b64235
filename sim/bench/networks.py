# SPDX-License-Identifier: Apache-2.0
"""Networks of the benches: trained weights where the reference folder has them, else seeded integer models."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.model.random_int_model import random_int_model
from golden.model.reference_data import reference_folder
from golden.spec.model import MODELS, ModelConfig
from golden.spec.quantized import PACKED_BITS, Plan
from host.models.calibration import calibration_pictures
from sim.demo import models

SEED = 1


@dataclass(frozen=True)
class Network:
    """A network and pictures to run it on; ``source``: where its weights and the pictures come from, in words;
    ``trained``: its float weights, if it has any."""

    config: ModelConfig
    source: str
    pixels: list[np.ndarray]
    trained: FloatModel | None = None

    def quantized(self, plan: str, progress: Callable = lambda *done: None) -> IntModel:
        """The integer network under a plan. Seeded ones are drawn, since cycles depend on their shape and routing
        only, and a large model takes minutes to calibrate."""
        layers, heads = self.config.depth, self.config.task_heads
        packed = Plan.fast(layers, heads).with_layers(expert_bits=PACKED_BITS) if plan == "packed" else None
        if self.trained is not None:
            return models.quantized(self.trained, plan, progress, layers=packed)
        return random_int_model(self.config, packed or getattr(Plan, plan)(layers, heads), seed=SEED)


def network(name: str, pictures: int) -> Network:
    """The network called ``name``, with as many pictures."""
    if name == "m3vit-tiny" and reference_folder() is not None:
        trained, source = models.float_model(name)
        sample, picture = models.picture(None, trained.config, source)
        pixels = [sample.image, *calibration_pictures(trained.config, False, pictures)[0]][:pictures]
        return Network(trained.config, f"{source}; picture: {picture}", pixels, trained)
    config, random = MODELS[name], np.random.default_rng(SEED)
    shape = (config.image_height, config.image_width, config.channels)
    return Network(config, "seeded integer weights; pictures of random bytes",
                   [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(pictures)])
