# SPDX-License-Identifier: Apache-2.0
"""Scaling on scales (S2): features of a picture and of its parts at larger sizes, pooled and joined by channels.

At scale s the picture has s times the model's height and width and is cut into s x s parts of the model's size. Their
patch features, put side by side, are averaged over squares of s x s, which gives the grid of scale 1; each extra token
is the mean over the parts. The channels of all scales follow each other.
"""

from collections.abc import Callable, Mapping

import numpy as np

from golden.spec.model import ModelConfig, require


def scaled(config: ModelConfig, run: Callable[[np.ndarray], np.ndarray],
           pictures: Mapping[int, np.ndarray]) -> np.ndarray:
    """float32 [tokens, dim * scales] of the same picture at each scale, uint8 [s * height, s * width, channels].

    ``run``: features [tokens, dim] of a picture of the model's size, of a float or an integer network. Means are taken
    in float64, where sums of an integer network's features are exact.
    """
    require(not config.keep, "Features of pruned tokens cannot be pooled.")
    (rows, columns), extra = config.grid, config.extra_tokens
    joined = []
    for s, picture in pictures.items():
        features = np.zeros((s, s, config.tokens, config.dim))
        for y, x in np.ndindex(s, s):
            top, left = y * config.image_height, x * config.image_width
            features[y, x] = run(picture[top:top + config.image_height, left:left + config.image_width])
        result = np.zeros((config.tokens, config.dim))
        result[:extra] = features[:, :, :extra].mean((0, 1))
        for row, column in np.ndindex(rows, columns):
            square = [features[y // rows, x // columns, extra + y % rows * columns + x % columns]
                      for y in range(row * s, (row + 1) * s) for x in range(column * s, (column + 1) * s)]
            result[extra + row * columns + column] = np.mean(square, 0)
        joined.append(result)
    return np.concatenate(joined, 1).astype(np.float32)
