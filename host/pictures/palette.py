# SPDX-License-Identifier: Apache-2.0
"""Colours of classes: those that street data sets use for the names they know, distinct ones for all others."""

import numpy as np

from host.scenes.classes import CLASSES

_OURS = {known.name: known.colour for known in CLASSES}
STREET = _OURS | {
    "sidewalk": _OURS["pavement"], "building": (70, 70, 70), "wall": _OURS["construction"], "fence": (190, 153, 153),
    "pole": (153, 153, 153), "sign": (220, 220, 0), "tree": _OURS["vegetation"], "terrain": (152, 251, 152),
    "pedestrian": _OURS["person"], "rider": (255, 0, 0), "cyclist": (255, 0, 0), "car": _OURS["vehicle"],
    "object": (250, 170, 30),
}
"""Colours of our scenes' classes, other Cityscapes classes (Cordts et al., CVPR 2016) and words that mean the same."""
IGNORED = (0, 0, 0)


def class_names(classes: int, names: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A name for each class: ``names``, or numbers."""
    return tuple(names) or tuple(f"class {index}" for index in range(classes))


def colours(names: tuple[str, ...]) -> np.ndarray:
    """uint8 [len(names), 3], all different.

    >>> colours(("road", "class 1", "sky"))[[0, 2]].tolist()
    [[128, 64, 128], [70, 130, 180]]
    """
    found, used = [], set()
    spare = iter(_distinct(len(names) + len(STREET)))
    for name in names:
        colour = STREET.get(name.lower())
        while colour is None or colour in used:
            colour = next(spare)
        used.add(colour)
        found.append(colour)
    return np.array(found, np.uint8).reshape(-1, 3)


def _distinct(count: int) -> list[tuple[int, int, int]]:
    """Colours whose hues are far apart from one to the next: steps of the golden ratio around the circle."""
    hue = np.arange(count) * 0.6180339887 % 1.0
    value = 0.95 - 0.35 * (np.arange(count) % 3) / 2
    channel = np.clip(np.abs((hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    rows = np.rint(255 * value[:, None] * (0.25 + 0.75 * channel)).astype(int)
    return [(int(red), int(green), int(blue)) for red, green, blue in rows]


def painted(classes: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Class map [H, W] as uint8 [H, W, 3]; what is no class is black.

    >>> painted(np.array([[0, 255]]), ("road",)).tolist()
    [[[128, 64, 128], [0, 0, 0]]]
    """
    table = np.array([IGNORED] * 256, np.uint8)
    table[:len(names)] = colours(names)
    return table[np.clip(classes, 0, 255)]
