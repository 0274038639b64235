# SPDX-License-Identifier: Apache-2.0
"""The ground of a street: a bent road with pavements, verges and a crossing, and the colour of each of its points."""

from dataclasses import dataclass

import numpy as np

from host.scenes.classes import PAVEMENT, ROAD, VEGETATION
from host.scenes.noise import cells, fractal, smooth
from host.scenes.palette import GROUNDS, LEAVES, Draw
from host.scenes.shapes import F

BEND_END = 70.0
"""Metres of x after which the road goes on straight."""


@dataclass(frozen=True)
class Street:
    """Widths in metres. The road's middle is at ``y = bend / 2 * x ** 2``; a side street crosses at ``cross``."""

    half: float
    pavement: float
    verge: float
    setback: tuple[float, float]
    bend: float
    cross: float
    cross_half: float
    zebra: bool
    yards: tuple[bool, bool]
    lanes: int
    salt: int
    tints: tuple[tuple[float, float, float], ...]

    @classmethod
    def drawn(cls, draw: Draw) -> "Street":
        bend = draw.between(-1 / 110, 1 / 110) if draw.chance(0.6) else 0.0
        crossing = draw.chance(0.45)
        ground = [draw.near(draw.pick(GROUNDS)) for _ in range(3)]
        return cls(
            half=draw.between(3.0, 6.5), pavement=draw.between(1.8, 5.5),
            verge=draw.between(0.8, 3.0) if draw.chance(0.3) else 0.0,
            setback=(draw.between(0, 7), draw.between(0, 7)), bend=bend,
            cross=draw.between(12, 60) if crossing else 1e6, cross_half=draw.between(3, 5.5),
            zebra=draw.chance(0.4), yards=(draw.chance(0.5), draw.chance(0.5)), lanes=draw.count(0, 3),
            salt=draw.salt(), tints=(*ground, draw.near(draw.pick(LEAVES), 0.2)))

    @property
    def edge(self) -> float:
        """Distance from the middle of the road to the far side of the pavement."""
        return self.half + self.verge + self.pavement

    def middle(self, x):
        """y of the road's middle, and its slope there."""
        bent = np.clip(x, F(-20), F(BEND_END))
        return F(self.bend) * bent * (x - bent / 2), F(self.bend) * bent

    def place(self, x: float, lateral: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Point ``lateral`` metres left of the middle at ``x``, and the (cos, sin) of the road there."""
        bent = min(max(x, -20.0), BEND_END)
        slope = self.bend * bent
        length = (1 + slope * slope) ** 0.5
        cos, sin = 1 / length, slope / length
        return (x - sin * lateral, self.bend * bent * (x - bent / 2) + cos * lateral), (cos, sin)

    def crosses(self, x: float, margin: float = 0.0) -> bool:
        """Whether ``x`` lies in the side street, or within ``margin`` of it."""
        return abs(x - self.cross) < self.cross_half + margin

    def ground(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels, int, and colours, float32 [3, n], of points of the ground."""
        middle, slope = self.middle(x)
        lateral = (y - middle) / np.sqrt(1 + slope * slope)
        aside, ahead = np.abs(lateral), np.abs(x - F(self.cross))
        side = F(self.cross_half)
        walk = F(self.pavement)
        road = (aside < F(self.half)) | (ahead < side)
        paved = ((aside >= F(self.half + self.verge)) & (aside < F(self.edge))) | (ahead < side + walk)
        yard = np.where(lateral > 0, self.yards[0], self.yards[1])
        label = np.where(road, ROAD, np.where(paved | (yard & (aside >= F(self.edge))), PAVEMENT, VEGETATION))
        return label, self._colours(x, y, lateral, label, paved)

    def _colours(self, x, y, lateral, label, paved) -> np.ndarray:
        salt = self.salt
        rough = fractal(x * F(0.35), y * F(0.35), salt, 4)
        fine = cells(x * 6, y * 6, salt + 7)
        tar, slab, yard, grass = (np.array(t, np.float32)[:, None] for t in self.tints)
        asphalt = tar * (F(0.72) + F(0.45) * rough + F(0.1) * fine)
        patch = smooth(x * F(0.13), lateral * F(0.4), salt + 11) > F(0.68)
        asphalt = np.where(patch, asphalt * F(0.72), asphalt)
        asphalt = np.where(self._markings(x, lateral, label), np.array([[0.78], [0.78], [0.74]], np.float32) * (
            F(0.55) + F(0.5) * rough), asphalt)
        joint = np.minimum(_fraction(x / F(0.9)), _fraction(lateral / F(0.6))) < F(0.06)
        stone = cells(x / F(0.9), lateral / F(0.6), salt + 13)
        slabs = slab * (F(0.7) + F(0.2) * stone + F(0.25) * rough) * np.where(joint, F(0.75), F(1))
        kerb = np.abs(np.abs(lateral) - F(self.half + self.verge) - F(0.08)) < F(0.08)
        slabs = np.where(kerb, slabs * F(1.25), slabs)
        front = yard * (F(0.7) + F(0.4) * rough + F(0.15) * stone)
        lawn = grass * (F(0.5) + F(0.6) * rough + F(0.4) * fine)
        return np.where(label == ROAD, asphalt, np.where(label == VEGETATION, lawn, np.where(paved, slabs, front)))

    def _markings(self, x, lateral, label) -> np.ndarray:
        """Where the road carries paint: middle and edge lines, lanes, a zebra crossing."""
        dashed = (np.abs(lateral) < F(0.08)) & (_fraction(x / 6) < F(0.5)) & (self.lanes > 0)
        edges = (np.abs(np.abs(lateral) - F(self.half - 0.35)) < F(0.07)) & (self.lanes > 1)
        away = np.abs(x - F(self.cross)) > F(self.cross_half)
        marks = (dashed | edges) & away
        if self.zebra:
            at = self.cross - self.cross_half - 3 if self.cross < 1e5 else 14.0
            marks |= (np.abs(x - F(at)) < F(1.5)) & (_fraction(lateral / F(1.1)) < F(0.5)) & (
                np.abs(lateral) < F(self.half))
        return marks & (label == ROAD)


def _fraction(x: np.ndarray) -> np.ndarray:
    return x - np.floor(x)
