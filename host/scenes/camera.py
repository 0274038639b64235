# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera over a street: one ray a pixel, and the pixels that a box in space may cover.

Street axes: x along the street, y to the left, z up, in metres. A point ``origin + t * ray`` has depth ``t``, measured
along the optical axis: rays are not of unit length, their component along the axis is 1.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAR = 0.2
"""Depth in metres from which a point can be projected."""


@dataclass(frozen=True)
class Camera:
    """Camera at (``x``, ``y``, ``z``) that looks along x, turned by slopes: ``yaw`` left, ``pitch`` up, ``roll``.

    ``focal`` is the focal length in units of the picture's width.
    """

    height: int
    width: int
    y: float = 0.0
    z: float = 1.5
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    focal: float = 0.85
    x: float = 0.0

    @cached_property
    def origin(self) -> np.ndarray:
        return np.array([self.x, self.y, self.z], np.float32)

    @cached_property
    def axes(self) -> np.ndarray:
        """Unit vectors forward, left and up, as rows."""
        forward = _unit((1.0, self.yaw, self.pitch))
        left = _unit((-forward[1], forward[0], self.roll))
        lean = sum(a * b for a, b in zip(left, forward, strict=True))
        left = _unit([a - lean * b for a, b in zip(left, forward, strict=True)])
        up = (forward[1] * left[2] - forward[2] * left[1], forward[2] * left[0] - forward[0] * left[2],
              forward[0] * left[1] - forward[1] * left[0])
        return np.array([forward, left, up], np.float32)

    @cached_property
    def rays(self) -> np.ndarray:
        """Direction of every pixel's ray, float32 [3, height, width]."""
        pixels = self.focal * self.width
        u = ((self.width - 1) / 2 - np.arange(self.width, dtype=np.float32)) / np.float32(pixels)
        v = ((self.height - 1) / 2 - np.arange(self.height, dtype=np.float32)) / np.float32(pixels)
        f, left, up = (axis[:, None, None] for axis in self.axes)
        return f + left * u[None, None, :] + up * v[None, :, None]

    def windows(self, points: np.ndarray) -> list[tuple[slice, slice] | None]:
        """Rows and columns that hold the hull of each set of ``points`` [sets, n, 3]; None where it is out of sight."""
        offset = points - self.origin
        x, y, z = (offset[..., 0] * a[0] + offset[..., 1] * a[1] + offset[..., 2] * a[2] for a in self.axes)
        pixels, depth = np.float32(self.focal * self.width), np.maximum(x, np.float32(NEAR))
        columns, rows = (self.width - 1) / 2 - y / depth * pixels, (self.height - 1) / 2 - z / depth * pixels
        edges = np.stack([np.floor(rows.min(1)), np.ceil(rows.max(1)) + 1, np.floor(columns.min(1)),
                          np.ceil(columns.max(1)) + 1], 1)
        edges = np.clip(edges, 0, [self.height, self.height, self.width, self.width]).astype(int)
        edges[x.min(1) < NEAR] = 0, self.height, 0, self.width
        visible = (x.max(1) >= NEAR) & (edges[:, 0] < edges[:, 1]) & (edges[:, 2] < edges[:, 3])
        return [(slice(e[0], e[1]), slice(e[2], e[3])) if seen else None
                for seen, e in zip(visible.tolist(), edges.tolist(), strict=True)]


def _unit(vector) -> list[float]:
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]
