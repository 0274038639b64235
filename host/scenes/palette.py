# SPDX-License-Identifier: Apache-2.0
"""Seeded choices: colours of things, drawn so that classes overlap in colour."""

import random

WALLS = ((0.55, 0.30, 0.22), (0.62, 0.55, 0.45), (0.75, 0.72, 0.65), (0.45, 0.45, 0.46), (0.35, 0.36, 0.40),
         (0.66, 0.50, 0.32), (0.52, 0.58, 0.62), (0.45, 0.50, 0.38), (0.70, 0.62, 0.40), (0.30, 0.25, 0.22),
         (0.58, 0.42, 0.40), (0.62, 0.68, 0.74))
"""Bricks, plaster, concrete; some like road, sky or leaves."""

GROUNDS = ((0.33, 0.33, 0.34), (0.24, 0.24, 0.26), (0.42, 0.41, 0.40), (0.50, 0.48, 0.45), (0.38, 0.34, 0.30),
           (0.46, 0.38, 0.33), (0.30, 0.31, 0.34), (0.55, 0.54, 0.53))
"""Asphalt, slabs, cobbles: roads and pavements draw from the same."""

LEAVES = ((0.16, 0.27, 0.08), (0.25, 0.34, 0.10), (0.10, 0.18, 0.08), (0.40, 0.36, 0.14), (0.45, 0.28, 0.10),
          (0.30, 0.30, 0.20), (0.20, 0.32, 0.18))
"""Summer, autumn, conifers, dry grass."""

PAINTS = ((0.75, 0.76, 0.77), (0.05, 0.05, 0.06), (0.40, 0.41, 0.43), (0.55, 0.08, 0.07), (0.08, 0.14, 0.40),
          (0.20, 0.30, 0.16), (0.62, 0.58, 0.48), (0.70, 0.60, 0.15), (0.30, 0.20, 0.14), (0.20, 0.35, 0.50),
          (0.30, 0.31, 0.33))
"""Vehicles."""

CLOTHES = ((0.10, 0.10, 0.12), (0.15, 0.18, 0.32), (0.50, 0.10, 0.10), (0.60, 0.58, 0.55), (0.20, 0.30, 0.18),
           (0.45, 0.36, 0.25), (0.30, 0.30, 0.33), (0.70, 0.55, 0.15), (0.35, 0.25, 0.40), (0.25, 0.42, 0.55))
SKINS = ((0.65, 0.45, 0.34), (0.50, 0.33, 0.23), (0.30, 0.19, 0.13), (0.72, 0.54, 0.43))


class Draw(random.Random):
    """Random choices of one scene. ``random()`` of Python is the same everywhere; all others derive from it."""

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def chance(self, share: float) -> bool:
        return self.random() < share

    def pick(self, options):
        return options[int(self.random() * len(options))]

    def count(self, low: int, high: int) -> int:
        """A whole number in low..high."""
        return low + int(self.random() * (high - low + 1))

    def salt(self) -> int:
        """A number for :mod:`host.scenes.noise`."""
        return int(self.random() * 2 ** 24)

    def near(self, colour, spread: float = 0.12) -> tuple[float, float, float]:
        """A colour like ``colour``: brighter or darker, and a little of another hue."""
        gain = 1 + self.between(-2 * spread, 2 * spread)
        red, green, blue = (min(0.95, max(0.02, c * gain * (1 + self.between(-spread, spread)))) for c in colour)
        return red, green, blue
