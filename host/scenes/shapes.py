# SPDX-License-Identifier: Apache-2.0
"""Solids that rays meet: convex polyhedra (boxes, extruded profiles) and ellipsoids, each turned about the vertical.

``meet(origin, direction)`` takes points or a point and directions or a direction, as three components that broadcast,
and returns where rays enter and leave (``t`` of ``origin + t * direction``, entry above exit where they miss) and the
number of the plane through which they enter.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from host.scenes.noise import smooth

F = np.float32


@dataclass(frozen=True)
class Material:
    """What a surface looks like: ``kind`` is a function of :mod:`host.scenes.materials`, ``colour`` its main colour."""

    kind: str
    colour: tuple[float, float, float]
    salt: int = 0
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Solid:
    """Placement and looks that all solids share. ``turn`` is the (cos, sin) of the angle about the vertical."""

    centre: tuple[float, float, float]
    turn: tuple[float, float]
    label: int
    material: Material

    def local(self, x, y, z):
        """Components relative to the centre, along the solid's own axes."""
        c, s = F(self.turn[0]), F(self.turn[1])
        x, y = x - F(self.centre[0]), y - F(self.centre[1])
        return x * c + y * s, y * c - x * s, z - F(self.centre[2])

    def rotated(self, x, y, z):
        """Components of a direction along the solid's own axes."""
        c, s = F(self.turn[0]), F(self.turn[1])
        return x * c + y * s, y * c - x * s, z

    def to_street(self, x, y, z):
        """Inverse of :meth:`rotated`."""
        c, s = F(self.turn[0]), F(self.turn[1])
        return x * c - y * s, x * s + y * c, z

    @property
    def bounds(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Lowest and highest own coordinates."""
        raise NotImplementedError

    def meet(self, origin, direction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where rays enter and leave, and the number of the plane through which they enter."""
        raise NotImplementedError

    def normals(self, points, face) -> np.ndarray:
        """Own-axes normals at ``points`` (own coordinates) of the surfaces ``face``, [3, n]."""
        raise NotImplementedError

    @cached_property
    def corners(self) -> np.ndarray:
        """Corners of the bounding box in street coordinates, [8, 3]."""
        low, high = self.bounds
        grid = np.array([[(low, high)[i >> a & 1][a] for a in range(3)] for i in range(8)], np.float32)
        x, y, z = self.to_street(*grid.T)
        return np.stack([x, y, z], 1) + np.array(self.centre, np.float32)


@dataclass(frozen=True)
class Polyhedron(Solid):
    """Points with ``n . p <= c`` for each plane (nx, ny, nz, c) of ``planes``, in own coordinates."""

    planes: tuple[tuple[float, float, float, float], ...] = ()
    low: tuple[float, float, float] = (0, 0, 0)
    high: tuple[float, float, float] = (0, 0, 0)

    @property
    def bounds(self):
        return self.low, self.high

    def meet(self, origin, direction):
        ox, oy, oz = self.local(*origin)
        dx, dy, dz = self.rotated(*direction)
        enter, leave, face = np.full((), F(-np.inf)), np.full((), F(np.inf)), np.zeros((), np.int8)
        for index, (nx, ny, nz, c) in enumerate(self.planes):
            slope = _dot(nx, ny, nz, dx, dy, dz) + F(0)  # -0.0 becomes 0.0: a parallel ray leaves at +infinity
            start = F(c) - _dot(nx, ny, nz, ox, oy, oz)
            t = start / slope
            inward = slope < 0
            into, out = np.where(inward, t, F(-np.inf)), np.where(inward, F(np.inf), t)
            face = np.where(into > enter, np.int8(index), face)
            enter, leave = np.maximum(enter, into), np.minimum(leave, out)
        return enter, leave, face

    def normals(self, points, face):
        return np.array(self.planes, np.float32)[:, :3][face].T


@dataclass(frozen=True)
class Ellipsoid(Solid):
    """Ellipsoid of half axes ``radii``; ``ragged`` above 0 cuts its outline irregularly, as foliage is."""

    radii: tuple[float, float, float] = (1, 1, 1)
    ragged: float = 0.0

    @property
    def bounds(self):
        return tuple(-r for r in self.radii), self.radii

    def meet(self, origin, direction):
        scale = [F(1 / r) for r in self.radii]
        ox, oy, oz = (o * k for o, k in zip(self.local(*origin), scale, strict=True))
        dx, dy, dz = (d * k for d, k in zip(self.rotated(*direction), scale, strict=True))
        a, b = dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz
        c = ox * ox + oy * oy + oz * oz - 1
        inside = b * b - a * c
        if self.ragged:
            t = -b / a
            r = F(max(self.radii) * 2.5)
            rough = smooth((oz + t * dz) * r, ((ox + t * dx) + (oy + t * dy)) * r, self.material.salt)
            inside = inside - a * F(self.ragged) * rough
        root = np.sqrt(np.maximum(inside, 0))
        hit = inside > 0
        enter, leave = np.where(hit, (-b - root) / a, F(np.inf)), np.where(hit, (root - b) / a, F(-np.inf))
        return enter, leave, np.zeros(np.shape(enter), np.int8)

    def normals(self, points, face):
        n = np.stack([p * F(1 / (r * r)) for p, r in zip(points, self.radii, strict=True)])
        return n / np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2] + F(1e-12))


def box(centre, size, label, material, turn=(1.0, 0.0)) -> Polyhedron:
    """Box of ``size`` (length, width, height) that stands on ``centre``."""
    a, b, h = size[0] / 2, size[1] / 2, size[2]
    planes = ((1, 0, 0, a), (-1, 0, 0, a), (0, 1, 0, b), (0, -1, 0, b), (0, 0, 1, h), (0, 0, -1, 0))
    return Polyhedron(tuple(centre), turn, label, material, planes, (-a, -b, 0), (a, b, h))


def extruded(centre, profile, width, label, material, turn=(1.0, 0.0), taper=0.0) -> Polyhedron:
    """Convex ``profile`` of (x, z) points, counter-clockwise, extruded over ``width`` in y.

    ``taper`` is how far each side leans in per metre of height.
    """
    planes = []
    for (x0, z0), (x1, z1) in zip(profile, profile[1:] + profile[:1], strict=True):
        nx, nz = z1 - z0, x0 - x1
        length = (nx * nx + nz * nz) ** 0.5
        planes.append((nx / length, 0, nz / length, (nx * x0 + nz * z0) / length))
    lean = (1 + taper * taper) ** 0.5
    foot = min(z for _, z in profile)
    side = (width / 2 + taper * foot) / lean
    planes += [(0, 1 / lean, taper / lean, side), (0, -1 / lean, taper / lean, side)]
    xs, zs = [x for x, _ in profile], [z for _, z in profile]
    return Polyhedron(tuple(centre), turn, label, material, tuple(planes), (min(xs), -width / 2, min(zs)),
                      (max(xs), width / 2, max(zs)))


def _dot(nx, ny, nz, x, y, z):
    """Dot product with a constant vector that is mostly zeros."""
    terms = [F(n) * v for n, v in ((nx, x), (ny, y), (nz, z)) if n]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
