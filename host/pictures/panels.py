# SPDX-License-Identifier: Apache-2.0
"""Panels of a result sheet: each draws one map into one matplotlib axis."""

from dataclasses import dataclass

import matplotlib
import numpy as np

from golden.spec.heads import HeadConfig
from host.pictures.palette import class_names, colours, painted

matplotlib.use("Agg")
from matplotlib.axes import Axes  # noqa: E402  the backend must be chosen first
from matplotlib.patches import Patch  # noqa: E402

MEANINGS = {"depth": "depth", "edge": "probability of an edge", "saliency": "probability of a salient pixel"}
"""What the values of each kind of map with one channel are."""
UNITS = {"depth": "model units"}
"""Unit of the kinds that have one. No head says whether it was trained for metres."""
WRONG, RIGHT = (200, 30, 30), (235, 235, 235)


@dataclass(frozen=True)
class Output:
    """Result of one task at picture size: ``values`` are classes uint8 [H, W] of a semseg head, float [H, W] of kinds
    with one map, float [H, W, 3] of normals. ``truth``: the same from a data set, if there is any; ``ignore``: its code
    of pixels that do not count (semseg), while a depth that is not positive never counts.
    """

    head: HeadConfig
    values: np.ndarray
    truth: np.ndarray | None = None
    ignore: int = 255

    @property
    def counts(self) -> np.ndarray:
        """Pixels of the truth that count."""
        assert self.truth is not None
        return self.truth != self.ignore if self.head.kind == "semseg" else self.truth > 0


def scale_label(kind: str) -> str:
    """Legend of the scale of a kind of map with one channel.

    >>> scale_label("depth"), scale_label("edge")
    ('depth, model units', 'probability of an edge')
    """
    return ", ".join(text for text in (MEANINGS[kind], UNITS.get(kind)) if text)


def draw_picture(axis: Axes, picture: np.ndarray) -> None:
    """The input, uint8 [H, W, 1 or 3]."""
    axis.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=255)
    _title(axis, "input")


def draw_output(axis: Axes, output: Output, values: np.ndarray | None = None, title: str | None = None) -> None:
    """Classes with a legend, one map with a scale, or directions as colours; ``values`` instead of the output's own."""
    values, kind = output.values if values is None else values, output.head.kind
    if kind == "semseg":
        names = class_names(output.head.classes, output.head.names)
        axis.imshow(painted(values, names))
        _legend(axis, names)
    elif kind == "normals":
        axis.imshow(np.clip(values / 2 + 0.5, 0, 1))
    else:
        top = None if kind == "depth" else 1.0
        shown = axis.imshow(values, cmap="magma_r" if kind == "depth" else "gray", vmin=0, vmax=top)
        axis.figure.colorbar(shown, ax=axis, shrink=0.8, label=scale_label(kind))
    _title(axis, title or output.head.task)


def draw_overlay(axis: Axes, picture: np.ndarray, output: Output) -> None:
    """Classes over the picture."""
    names = class_names(output.head.classes, output.head.names)
    grey = picture.astype(np.float64).mean(axis=-1, keepdims=True)
    axis.imshow(np.rint(0.5 * grey + 0.5 * painted(output.values, names)).astype(np.uint8))
    _title(axis, f"{output.head.task} over the input")


def draw_error(axis: Axes, output: Output) -> None:
    """Difference from the truth: wrong pixels of classes, absolute error of one map."""
    assert output.truth is not None
    counts = output.counts
    if output.head.kind == "semseg":
        wrong = counts & (output.values != output.truth)
        shown = np.where(wrong[..., None], WRONG, RIGHT).astype(np.uint8)
        axis.imshow(np.where(counts[..., None], shown, 0))
        _title(axis, f"{output.head.task}: {100 * wrong.sum() / max(1, counts.sum()):.1f} % of the pixels are wrong")
        return
    error = np.where(counts, np.abs(output.values - output.truth), np.nan)
    shown = axis.imshow(error, cmap="inferno", vmin=0)
    axis.figure.colorbar(shown, ax=axis, shrink=0.8, label="absolute error")
    root = float(np.sqrt(np.nanmean(error ** 2))) if counts.any() else float("nan")
    _title(axis, f"{output.head.task}: root mean square error {root:.3g}")


def draw_experts(axis: Axes, task: str, counts: dict[int, np.ndarray]) -> None:
    """Tokens of each expert, a column a MoE layer: ``counts[layer]`` int [experts]."""
    table = np.stack(list(counts.values()), axis=1)
    shown = axis.imshow(table, cmap="viridis", aspect="auto", vmin=0)
    axis.set(xticks=range(len(counts)), yticks=range(0, len(table), max(1, len(table) // 8)), xlabel="MoE layer",
             ylabel="expert")
    axis.set_xticklabels([str(layer) for layer in counts], fontsize=7)
    axis.figure.colorbar(shown, ax=axis, shrink=0.8, label="tokens")
    axis.set_title(f"{task}: tokens of each expert", fontsize=8)


def _legend(axis: Axes, names: tuple[str, ...]) -> None:
    patches = [Patch(color=colour / 255, label=name) for name, colour in zip(names, colours(names), strict=True)]
    axis.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=min(4, len(names)),
                fontsize=6, frameon=False)


def _title(axis: Axes, text: str) -> None:
    axis.set(xticks=[], yticks=[])
    axis.set_title(text, fontsize=8)
