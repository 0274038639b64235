# SPDX-License-Identifier: Apache-2.0
"""Result sheet: one picture file with the input, every task's result, overlays, errors and the load of the experts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np

from golden.spec.whole_file import write_whole
from host.pictures.panels import Output, draw_error, draw_experts, draw_output, draw_overlay, draw_picture

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen first

COLUMNS = 3


def save_sheet(picture: np.ndarray, outputs: list[Output], path: Path,
               experts: dict[str, dict[int, np.ndarray]] | None = None, title: str = "") -> None:
    """Draw ``picture`` (uint8 [H, W, 1 or 3]) and its ``outputs`` into ``path``, written whole or not at all.

    ``experts[task][layer]`` int [experts]: tokens of each. Raises :class:`OSError`.
    """
    draws = _panels(picture, outputs, experts or {})
    rows = -(-len(draws) // COLUMNS)
    height = 3.8 * picture.shape[0] / picture.shape[1] + 0.9
    figure, axes = pyplot.subplots(rows, COLUMNS, squeeze=False, layout="constrained", figsize=(13, rows * height))
    for axis, draw in zip(axes.flat, draws, strict=False):
        draw(axis)
    for axis in axes.flat[len(draws):]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=10)
    try:
        write_whole(path, lambda part: figure.savefig(part, dpi=130, format=path.suffix[1:] or "png"))
    finally:
        pyplot.close(figure)


def _panels(picture: np.ndarray, outputs: list[Output], experts: dict[str, dict[int, np.ndarray]]) -> list[Callable]:
    draws: list[Callable] = [partial(draw_picture, picture=picture)]
    for output in outputs:
        draws.append(partial(draw_output, output=output))
        if output.head.kind == "semseg":
            draws.append(partial(draw_overlay, picture=picture, output=output))
        if output.truth is not None:
            draws += [partial(draw_output, output=output, values=output.truth, title=f"{output.head.task}: truth"),
                      partial(draw_error, output=output)]
    return draws + [partial(draw_experts, task=task, counts=counts) for task, counts in experts.items() if counts]
