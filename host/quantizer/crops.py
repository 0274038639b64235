# SPDX-License-Identifier: Apache-2.0
"""Calibration crops: seeded crops, flips and resizes of photographs from scikit-image and scikit-learn."""

from importlib.resources import as_file, files

import numpy as np

from golden.spec.model import ModelConfig, require
from host.images import crop, read_picture

PHOTOGRAPHS = {
    "astronaut": "skimage.data:astronaut.png", "brick": "skimage.data:brick.png", "camera": "skimage.data:camera.png",
    "chelsea": "skimage.data:chelsea.png", "china": "sklearn.datasets.images:china.jpg",
    "coffee": "skimage.data:coffee.png", "coins": "skimage.data:coins.png",
    "flower": "sklearn.datasets.images:flower.jpg", "grass": "skimage.data:grass.png",
    "gravel": "skimage.data:gravel.png", "hubble": "skimage.data:hubble_deep_field.jpg", "ihc": "skimage.data:ihc.png",
    "moon": "skimage.data:moon.png", "motorcycle": "skimage.data:motorcycle_left.png",
    "retina": "skimage.data:retina.jpg", "rocket": "skimage.data:rocket.jpg",
}
"""Name -> package:file of every photograph; grey ones get three equal channels."""


CROPS, CROP_TOKENS, LEAST_CROPS = 96, 24_576, 16
"""Default number of calibration crops, the most tokens of all crops together, and the least number of crops.
Fewer crops leave experts without tokens; more tokens need too much memory."""


def photograph(name: str) -> np.ndarray:
    """One photograph as uint8 [height, width, 3]. Raises :class:`ConfigError` for an unknown name."""
    require(name in PHOTOGRAPHS, f"There is no photograph {name!r}; known are {sorted(PHOTOGRAPHS)}.")
    package, file = PHOTOGRAPHS[name].split(":")
    with as_file(files(package) / file) as path:
        return read_picture(path)


def exposed(image: np.ndarray, gain: float, gamma: float, saturation: float) -> np.ndarray:
    """``image`` darker or brighter (``gain``), with another tone curve and another colour saturation."""
    tone = gain * (image.astype(np.float32) / 255) ** gamma
    grey = tone.mean(axis=2, keepdims=True)
    return np.clip(np.rint(255 * (grey + saturation * (tone - grey))), 0, 255).astype(np.uint8)


def crops(config: ModelConfig, count: int | None = None, seed: int = 0,
          exclude: tuple[str, ...] = ()) -> list[np.ndarray]:
    """``count`` uint8 images [height, width, 3] of the model's size, from all photographs but ``exclude``, cyclically;
    ``count`` defaults to what suits the model's number of tokens.

    The first crop of a photograph is its largest centred window, unmodified; later ones are random windows, half of
    them mirrored, with random exposure, so that darker scenes with less contrast occur too.
    """
    require(config.channels == 3, f"Photographs have 3 channels, the model {config.name!r} wants {config.channels}.")
    if count is None:
        count = max(LEAST_CROPS, min(CROPS, CROP_TOKENS // config.tokens))
    names = [name for name in PHOTOGRAPHS if name not in exclude]
    rng, out = np.random.default_rng(seed), []
    sources = {name: photograph(name) for name in names[:count]}
    for i in range(count):
        source = sources[names[i % len(names)]]
        if i < len(names):
            out.append(crop(source, config, 1.0, 0.5, 0.5))
            continue
        window = crop(source, config, rng.uniform(0.35, 1.0), rng.random(), rng.random(), rng.random() < 0.5)
        out.append(exposed(window, rng.uniform(0.5, 1.1), rng.uniform(0.7, 1.5), rng.uniform(0.3, 1.2)))
    return out
