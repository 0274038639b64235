# SPDX-License-Identifier: Apache-2.0
"""Plots of a demo run: the input picture, which expert each patch chose, the encoder output."""

from pathlib import Path

import matplotlib
import numpy as np

from golden.spec.model import ModelConfig

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen first


def save_input(pixels: np.ndarray, path: Path) -> None:
    """The input picture at the model's size."""
    pyplot.imsave(path, pixels)


def save_experts(pixels: np.ndarray, config: ModelConfig, chosen: dict[str, dict[int, np.ndarray]], path: Path) -> None:
    """First-choice expert of each patch over the picture: a row a task, a column a MoE layer.

    ``chosen[task][layer]`` int [tokens, top_k].
    """
    rows, columns = config.image_height // config.patch, config.image_width // config.patch
    figure, axes = pyplot.subplots(len(chosen), len(config.moe_layers), squeeze=False, layout="constrained",
                                   figsize=(3.2 * len(config.moe_layers), 2.1 * len(chosen)))
    for axis_row, (task, by_layer) in zip(axes, chosen.items(), strict=True):
        for axis, (layer, experts) in zip(axis_row, by_layer.items(), strict=True):
            axis.imshow(pixels, extent=(0, columns, rows, 0))
            shown = axis.imshow(experts[config.extra_tokens:, 0].reshape(rows, columns), extent=(0, columns, rows, 0),
                                cmap="tab20", vmin=-0.5, vmax=max(19, config.experts) + 0.5, alpha=0.6)
            axis.set(xticks=[], yticks=[])
            hit = f"{len(np.unique(experts))} of {config.experts} experts hit"
            axis.set_title(f"{task}, layer {layer}: {hit}", fontsize=8)
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, label="first expert of the patch")
    bar.ax.set_ylim(-0.5, config.experts - 0.5)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def save_features(config: ModelConfig, features: dict[str, np.ndarray], path: Path) -> None:
    """Encoder output, a row a task: its first three principal components as colours, and its length, patch by patch."""
    rows, columns = config.image_height // config.patch, config.image_width // config.patch
    figure, axes = pyplot.subplots(len(features), 2, squeeze=False, layout="constrained",
                                   figsize=(9, 2.5 * len(features)))
    for (colour, length), (task, values) in zip(axes, features.items(), strict=True):
        tokens = values[config.extra_tokens:]
        centred = tokens - tokens.mean(axis=0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        parts = centred @ directions[:3].T
        low, high = np.percentile(parts, [2, 98], axis=0)
        colour.imshow(np.clip((parts - low) / np.maximum(high - low, 1e-6), 0, 1).reshape(rows, columns, 3))
        colour.set_title(f"{task}: principal components", fontsize=8)
        shown = length.imshow(np.linalg.norm(tokens, axis=1).reshape(rows, columns), cmap="viridis")
        length.set_title(f"{task}: length of the feature vector", fontsize=8)
        figure.colorbar(shown, ax=length, shrink=0.8)
        for axis in (colour, length):
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
