# SPDX-License-Identifier: Apache-2.0
"""Daylight, sky, fog and the camera's sensor: from reflectances to the bytes of a picture."""

from dataclasses import dataclass

import numpy as np

from host.scenes.noise import fractal, hashed
from host.scenes.palette import Draw
from host.scenes.shapes import F

Colour = tuple[float, ...]


@dataclass(frozen=True)
class Weather:
    """Light of one scene. ``sun`` is the unit vector to the sun; colours are of light, 1 a sunlit white."""

    sun: Colour
    sunlight: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    clouds: float
    fog: float
    """Distance in metres at which half of what is seen is fog."""
    exposure: float
    balance: Colour
    contrast: float
    noise: float
    blur: float
    salt: int

    @classmethod
    def drawn(cls, draw: Draw) -> "Weather":
        kind = draw.pick(("clear", "clear", "cloudy", "cloudy", "overcast", "fog", "evening"))
        angle, tall = draw.pick(((1, 0.3), (0.2, 1), (-0.5, 0.8), (-1, -0.2), (-0.3, -1), (0.6, -0.8))), {
            "evening": draw.between(0.2, 0.45)}.get(kind, draw.between(0.5, 1.6))
        length = (angle[0] ** 2 + angle[1] ** 2 + tall ** 2) ** 0.5
        power = {"clear": draw.between(0.7, 1.1), "cloudy": draw.between(0.2, 0.8), "evening": draw.between(0.3, 0.7)}
        sun = power.get(kind, 0.0)
        warm = (1.0, 0.75, 0.5) if kind == "evening" else (1.0, 0.96, 0.88)
        grey = draw.between(0.45, 0.85)
        blue = draw.between(0.0, 1.0)
        zenith = (0.32 + 0.2 * blue, 0.5 + 0.1 * blue, 0.85) if kind in ("clear", "cloudy") else (
            (0.35, 0.38, 0.55) if kind == "evening" else (grey, grey * 1.02, grey * 1.05))
        horizon = (0.9, 0.66, 0.5) if kind == "evening" else tuple(draw.between(0.75, 0.95) * c for c in (1, 1, 1.03))
        if kind in ("overcast", "fog"):
            horizon = tuple(c * draw.between(0.9, 1.15) for c in zenith)
        dim = 0.55 if kind == "evening" else 1.0
        low, high = {"fog": (25, 90), "overcast": (120, 500), "evening": (150, 600)}.get(kind, (250, 1500))
        return cls(
            sun=(angle[0] / length, angle[1] / length, tall / length), sunlight=tuple(sun * c for c in warm),
            ambient=tuple(dim * draw.between(0.38, 0.62) * c for c in (0.95, 1.0, 1.08)),
            zenith=zenith, horizon=horizon,
            clouds={"cloudy": draw.between(0.35, 0.8), "clear": draw.between(0.0, 0.3),
                    "evening": draw.between(0.0, 0.7)}.get(kind, 0.15),
            fog=draw.between(low, high), exposure=draw.between(0.8, 1.45),
            balance=(draw.between(0.86, 1.14), 1.0, draw.between(0.86, 1.14)), contrast=draw.between(0.0, 0.6),
            noise=draw.between(0.004, 0.03), blur=draw.between(0.0, 0.8), salt=draw.salt())

    def sky(self, rays: np.ndarray) -> np.ndarray:
        """Colour of the sky in directions [3, n]."""
        length = np.sqrt(rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2])
        up = np.clip(rays[2] / length, F(0), F(1))
        rise = np.minimum(up * F(2.2), F(1))
        colour = _column(self.horizon) * (1 - rise) + _column(self.zenith) * rise
        spread = up + F(0.12)
        cloud = fractal(rays[0] / length / spread * F(1.1), rays[1] / length / spread * F(1.1), self.salt, 4)
        cover = np.clip((cloud - F(1 - self.clouds)) * F(4) + F(0.3), F(0), F(1)) * F(min(1.0, self.clouds * 2))
        bright = F(0.55) + F(0.5) * fractal(rays[0] / spread * F(2.1), rays[1] / spread * F(2.1), self.salt + 50, 3)
        return colour * (1 - cover) + _column([0.5 * (h + 1) for h in self.horizon]) * bright * cover

    def lit(self, reflectance, normals, lightness, depth) -> np.ndarray:
        """Light that reaches the camera from surfaces; ``lightness`` is 0 in the shadow and 1 in the sun."""
        x, y, z = (normal * F(sun) for normal, sun in zip(normals, self.sun, strict=True))
        facing = np.maximum(x + y + z, F(0))
        ambient = F(0.72) + F(0.28) * normals[2]
        light = _column(self.ambient) * ambient + _column(self.sunlight) * (facing * lightness)
        haze = depth / (depth + F(self.fog))
        haze = haze * haze * (3 - 2 * haze) if self.fog < 100 else haze * haze
        return reflectance * light * F(1.25) * (1 - haze) + _column(self.horizon) * haze

    def developed(self, picture: np.ndarray) -> np.ndarray:
        """Bytes [height, width, 3] of light [3, height, width]: lens, exposure, tone curve, sensor noise."""
        _, height, width = picture.shape
        picture = _blurred(picture, F(self.blur))
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        vignette = 1 - F(0.12) * (x * x + y * y)
        value = np.clip(picture * (_column(self.balance) * F(self.exposure))[..., None] * vignette, F(0), F(1.3))
        grain = sum(hashed(*_lattice(height * 3, width), self.salt + k) for k in (1, 2, 3)) - F(1.5)
        value = value + grain.reshape(3, height, width) * F(2 * self.noise) * np.sqrt(value + F(0.05))
        value = np.sqrt(np.clip(value, F(0), F(1)))  # the tone curve of a camera, close to a gamma of 2
        curve = value * value * (3 - 2 * value)
        value = value + (curve - value) * F(self.contrast)
        return np.floor(np.clip(value * 255 + F(0.5), F(0), F(255))).astype(np.uint8).transpose(1, 2, 0).copy()


def _column(colour) -> np.ndarray:
    return np.array(colour, np.float32)[:, None]


def _lattice(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices((rows, columns), np.int32).reshape(2, -1)
    return y, x


def _blurred(picture: np.ndarray, amount) -> np.ndarray:
    """Mix with the mean over 3 x 3 pixels, weights 1 2 1 on each axis."""
    padded = np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 2:] + padded[:, 1:-1] * 2
    soft = (rows[:, :, :-2] + rows[:, :, 2:] + rows[:, :, 1:-1] * 2) * F(1 / 16)
    return picture + (soft - picture) * amount
