# SPDX-License-Identifier: Apache-2.0
"""Pictures of a page: the input and the maps of a result as data, with the meaning of their colours."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from PIL import Image as Picture

from golden.spec.model import ModelConfig
from host.driver.result import Result
from host.pictures.coloured import coloured, scale_of
from host.pictures.outputs import outputs_of
from host.pictures.palette import class_names, colours
from host.pictures.panels import UNITS, Output

STOPS = 9
"""Colours of a scale."""


@dataclass(frozen=True)
class Shown:
    """One picture: its name, its pixels as a data URI; ``classes``: name and colour of each; ``scale``: a gradient of
    CSS with the words at its ends."""

    name: str
    source: str
    classes: tuple[tuple[str, str], ...] = ()
    scale: tuple[str, str, str] | None = None


def data_uri(pixels: np.ndarray) -> str:
    """A PNG of uint8 [H, W, 1 or 3] that a page holds itself."""
    file = io.BytesIO()
    Picture.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def shown(pixels: np.ndarray, result: Result, config: ModelConfig) -> list[Shown]:
    """The input and every map of a result."""
    return [Shown("input", data_uri(pixels)), *map(_map, outputs_of(result, config))]


def _map(output: Output) -> Shown:
    source, head = data_uri(coloured(output)), output.head
    if head.kind == "semseg":
        names = class_names(head.classes, head.names)
        here = set(np.unique(output.values).tolist())
        return Shown(head.task, source, tuple((name, "#{:02x}{:02x}{:02x}".format(*colour)) for index, (name, colour)
                                              in enumerate(zip(names, colours(names), strict=True)) if index in here))
    if head.kind == "normals":
        return Shown(head.task, source)
    top = float(output.values.max()) if head.kind == "depth" else 1.0
    steps = colormaps[scale_of(head.kind)](np.linspace(0, 1, STOPS))[:, :3]
    gradient = ", ".join("#{:02x}{:02x}{:02x}".format(*np.rint(255 * step).astype(int)) for step in steps)
    return Shown(head.task, source, scale=(gradient, "0", f"{top:.3g} {UNITS.get(head.kind, '')}".rstrip()))
