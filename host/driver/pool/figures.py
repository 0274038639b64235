# SPDX-License-Identifier: Apache-2.0
"""How long the frames of a pool took, and which device ran how many."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Figures:
    """Of one run of a pool: ``seconds`` in all, ``latencies`` of the jobs in seconds, from the moment a device takes
    one to its result, lost attempts included; ``frames`` by device; ``retries``: attempts that were repeated;
    ``lost``: why a device was set aside.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    lost: dict[str, str] = field(default_factory=dict)

    @property
    def p50(self) -> float:
        """Half of the jobs took no longer, in seconds."""
        return self._quantile(0.50)

    @property
    def p99(self) -> float:
        """99 of 100 jobs took no longer, in seconds."""
        return self._quantile(0.99)

    @property
    def per_second(self) -> float:
        """Frames a second of all devices together."""
        return sum(self.frames.values()) / self.seconds if self.seconds else 0.0

    def _quantile(self, share: float) -> float:
        """The least latency that this share of the jobs does not exceed."""
        return float(np.quantile(self.latencies, share, method="inverted_cdf")) if self.latencies else 0.0
