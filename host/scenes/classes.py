# SPDX-License-Identifier: Apache-2.0
"""Classes of the street scenes, with the colours in which label pictures show them, and the range of the depth."""

from dataclasses import dataclass

IGNORE = 255
"""Label of pixels that count neither in a loss nor in a metric."""

FARTHEST = 80.0
"""Depth in metres up to which a pixel has a valid depth; farther ones, and the sky, have 0."""

DEPTH_STEP = 1 / 256
"""Metres of one code of a 16-bit depth picture."""


@dataclass(frozen=True)
class SceneClass:
    """A class of pixels: its name, the colour in which it is shown, and what belongs to it."""

    name: str
    colour: tuple[int, int, int]
    about: str


CLASSES = (
    SceneClass("road", (128, 64, 128), "carriageway with its markings"),
    SceneClass("pavement", (244, 35, 232), "pavements and paved front yards"),
    SceneClass("construction", (102, 102, 156), "buildings, walls, fences, poles, signs"),
    SceneClass("vegetation", (107, 142, 35), "trees, bushes, hedges, grass, hills"),
    SceneClass("sky", (70, 130, 180), "sky and clouds"),
    SceneClass("vehicle", (0, 0, 142), "cars, vans, trucks, buses"),
    SceneClass("person", (220, 20, 60), "people on foot"),
)
ROAD, PAVEMENT, CONSTRUCTION, VEGETATION, SKY, VEHICLE, PERSON = range(len(CLASSES))
