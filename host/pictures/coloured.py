# SPDX-License-Identifier: Apache-2.0
"""Maps as colours: a result of a task head as pixels, and the scale that its colours stand for."""

import numpy as np
from matplotlib import colormaps

from host.pictures.palette import class_names, painted
from host.pictures.panels import Output

SCALES = {"depth": "magma_r"}
"""Colours of kinds with one map, by matplotlib's names; the others are grey."""


def scale_of(kind: str) -> str:
    """Name of the colours of a kind with one map."""
    return SCALES.get(kind, "gray")


def coloured(output: Output, top: float | None = None) -> np.ndarray:
    """uint8 [H, W, 3] of a map: classes in their colours, directions as red, green and blue, one map from 0 to ``top``
    (depth; its own largest value by default) or to 1."""
    values, kind = output.values, output.head.kind
    if kind == "semseg":
        return painted(values, class_names(output.head.classes, output.head.names))
    if kind == "normals":
        return np.rint(255 * np.clip(values / 2 + 0.5, 0, 1)).astype(np.uint8)
    top = (float(values.max()) if top is None else top) if kind == "depth" else 1.0
    return np.rint(255 * colormaps[scale_of(kind)](np.clip(values / (top or 1.0), 0, 1))[..., :3]).astype(np.uint8)
