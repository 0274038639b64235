# SPDX-License-Identifier: Apache-2.0
"""Surface colours computed from a point's own coordinates: facades, foliage, paint, cloth and others.

Each function takes points and normals in a solid's own axes, [3, n], and its material, and returns float32 [3, n],
the share of light that is reflected.
"""

from collections.abc import Callable

import numpy as np

from host.scenes.noise import cells, fractal, hashed, smooth
from host.scenes.shapes import F, Material

Surface = Callable[[np.ndarray, np.ndarray, Material], np.ndarray]


def tone(colour, amount: np.ndarray) -> np.ndarray:
    """``colour`` times ``amount``, [3, n]."""
    return np.array(colour, np.float32)[:, None] * amount


def _along(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Horizontal coordinate on an upright face."""
    return np.where(np.abs(n[0]) > np.abs(n[1]), p[1], p[0])


def plain(p, n, m):
    """One colour with stains."""
    return tone(m.colour, F(0.8) + F(0.4) * fractal(p[0] * 2 + p[2], p[1] * 2 - p[2], m.salt))


def facade(p, n, m):
    """Wall with rows of windows, floor bands, perhaps a shop on the ground floor; roof on top."""
    o = m.options
    u, v = _along(p, n), p[2]
    wall = tone(m.colour, F(0.75) + F(0.35) * fractal(u * F(0.6), v * F(0.6), m.salt))
    courses = cells(u * 3 + np.floor(v * F(8)) * F(0.5), v * 8, m.salt + 5)
    wall *= 1 + F(o["brick"]) * (courses - F(0.5))
    pitch, storey = F(o["pitch"]), F(o["storey"])
    column, row = u / pitch, v / storey
    fu, fv = column - np.floor(column), row - np.floor(row)
    margin = F(o["margin"])
    window = (fu > margin) & (fu < 1 - margin) & (fv > F(o["sill"])) & (fv < F(o["lintel"]))
    frame = window & ((np.abs(fu - F(0.5)) < F(0.02)) | (fv > F(o["lintel"]) - F(0.05)))
    pane = hashed(np.floor(column).astype(np.int32), np.floor(row).astype(np.int32), m.salt + 9)
    lit = pane < F(o["lit"])
    shine = F(0.4) + F(0.8) * pane + F(0.3) * fu * fv
    glass = np.where(lit, tone((1.1, 0.9, 0.55), F(0.6) + pane), tone(o["glass"], shine))
    wall = np.where(window, glass, wall)
    wall = np.where(frame, tone(o["frame"], np.ones_like(u)), wall)
    band = (fv < F(0.06)) & (row > F(0.5))
    wall = np.where(band, wall * F(o["band"]), wall)
    if o["shop"]:
        front = (v < F(3.2)) & (v > F(0.4)) & (fu > F(0.06)) & (fu < F(0.94))
        strip = hashed(np.floor(column).astype(np.int32), np.zeros_like(u, np.int32), m.salt + 3)
        signs = np.stack([F(0.2) + F(0.7) * strip, F(0.2) + F(0.6) * (1 - strip), F(0.2) + F(0.6) * pane])
        wall = np.where(front, np.where(v > F(2.6), signs, tone((0.12, 0.13, 0.15), F(0.5) + pane)), wall)
    roof = tone(o["roof"], F(0.7) + F(0.5) * smooth(p[0] * 2, p[1] * 2 + p[2] * 3, m.salt))
    return np.where(n[2] > F(0.3), roof, wall)


def foliage(p, n, m):
    """Leaves: two colours mixed by fine noise, darker below."""
    fine = fractal(p[0] * 4 + p[1] * 3, p[2] * 5 - p[1] * 2, m.salt, 2)
    coarse = smooth(p[0] * F(1.3) + p[2], p[1] * F(1.3) - p[2], m.salt + 4)
    shade = (F(0.35) + F(0.9) * fine) * (F(0.8) + F(0.2) * n[2])
    return (tone(m.colour, coarse) + tone(m.options["second"], 1 - coarse)) * shade


def boards(p, n, m):
    """Fence or wall: upright boards or courses of bricks, by ``step`` metres."""
    step = F(m.options["step"])
    u = _along(p, n)
    shade = cells(u / step + np.floor(p[2] / step) * F(m.options["offset"]), p[2] / step * F(m.options["rows"]), m.salt)
    return tone(m.colour, (F(0.65) + F(0.4) * shade) * (F(0.8) + F(0.3) * smooth(u, p[2] * 2, m.salt + 1)))


def paint(p, n, m):
    """Vehicle: paint, a dark sill, lights at both ends, windows between two heights except at pillars."""
    o = m.options
    x, z = p[0], p[2]
    colour = tone(m.colour, F(0.85) + F(0.25) * n[2] + F(0.1) * smooth(x * 2, z * 3, m.salt))
    dark = tone((0.05, 0.05, 0.06), F(0.7) + F(0.6) * smooth(x * 3, p[1] * 3, m.salt))
    colour = np.where(z < F(o["sill"]), dark, colour)
    if "glass" in o:
        low, high = o["glass"]
        u = np.where(np.abs(n[1]) > F(0.6), x, p[1])
        pillar = np.abs(u / F(o["pillar"]) - np.floor(u / F(o["pillar"])) - F(0.5)) > F(0.44)
        glass = tone(o["tint"], F(0.5) + F(0.9) * smooth(u * F(0.8) + z, z * F(1.5), m.salt + 2))
        colour = np.where((z > F(low)) & (z < F(high)) & (n[2] < F(0.8)) & ~pillar, glass, colour)
    if "lights" in o:
        height, half, length = o["lights"]
        lamp = (np.abs(z - F(height)) < F(0.09)) & (np.abs(np.abs(p[1]) - F(half)) < F(0.2))
        colour = np.where(lamp & (x > F(length)), tone((0.95, 0.92, 0.8), np.ones_like(x)), colour)
        colour = np.where(lamp & (x < F(-length)), tone((0.75, 0.06, 0.05), np.ones_like(x)), colour)
        plate = (np.abs(z - F(height - 0.2)) < F(0.07)) & (np.abs(p[1]) < F(0.26)) & (np.abs(x) > F(length))
        colour = np.where(plate, tone((0.8, 0.8, 0.7), np.ones_like(x)), colour)
    return colour


def tyre(p, n, m):
    """Wheel: dark, with a brighter hub on its sides."""
    hub = (p[0] * p[0] + p[2] * p[2] < F(m.options["hub"] ** 2)) & (np.abs(n[1]) > F(0.5))
    return np.where(hub, tone((0.45, 0.45, 0.47), np.ones_like(p[0])), tone((0.05, 0.05, 0.055), np.ones_like(p[0])))


def cloth(p, n, m):
    """Clothes: folds, perhaps stripes."""
    shade = F(0.7) + F(0.5) * smooth(p[0] * 8 + p[1] * 8, p[2] * 5, m.salt)
    if m.options.get("stripes"):
        shade = shade * (F(0.6) + F(0.5) * (cells(p[2] * 9, p[2] * 0, m.salt) > F(0.5)))
    return tone(m.colour, shade)


SURFACES: dict[str, Surface] = {function.__name__: function for function in
                                (plain, facade, foliage, boards, paint, tyre, cloth)}
