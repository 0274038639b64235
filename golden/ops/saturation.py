# SPDX-License-Identifier: Apache-2.0
"""Saturation counters: how often the reference models clip values, by place and kind; results do not change."""

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

_active: ContextVar["SaturationCounters | None"] = ContextVar("saturation", default=None)


class SaturationCounters:
    """Numbers of clipped and of all values by ``(place, kind)``, counted by the reference models that run inside
    ``with counters.at(place):``.

    ``kind`` names the clipping: ``u`` (16 bit after ``multiplier``), ``residual``, ``block`` (8 bit at the largest
    block exponent), ``unsigned`` (unsigned bytes), ``wide``, ``key`` (K and V), ``normalized``, ``score``, ``weight``
    (an expert's weight at 65535).
    """

    def __init__(self):
        self.counts: dict[tuple[str, str], list[int]] = {}
        self.place = ""

    @contextmanager
    def at(self, place: str):
        """Count everything that is clipped in the body under ``place``."""
        before, self.place = self.place, place
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)
            self.place = before

    def add(self, kind: str, clipped: int, seen: int) -> None:
        entry = self.counts.setdefault((self.place, kind), [0, 0])
        entry[0] += clipped
        entry[1] += seen

    @property
    def clipped(self) -> int:
        """All clipped values together."""
        return sum(clipped for clipped, _ in self.counts.values())

    def table(self) -> list[tuple[str, str, int, int]]:
        """``(place, kind, clipped, seen)`` in the order in which the places first occurred."""
        return [(place, kind, clipped, seen) for (place, kind), (clipped, seen) in self.counts.items()]


def note(kind: str, before: np.ndarray, after: np.ndarray) -> None:
    """Report to the active counters, if any, that ``before`` was clipped to ``after``."""
    saturation = _active.get()
    if saturation is not None:
        saturation.add(kind, int(np.count_nonzero(before != after)), int(np.size(after)))
