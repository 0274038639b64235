# SPDX-License-Identifier: Apache-2.0
"""Result of one frame: residual streams, class scores and counters."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Result:
    """Result of one frame. ``residuals``: task -> int16 (tokens, dim) in steps of 2**-frac; ``scores``: task -> int16
    (heads, classes) in steps of 2**-logit_frac, empty without a classifier; ``counters`` of the hardware (CYCLES is 0
    on a device without timing); ``run_id`` of the device.
    """

    residuals: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    frac: int
    counters: dict[str, int]
    run_id: int
    logit_frac: int

    @property
    def features(self) -> np.ndarray:
        """Encoder output of the (first) task as float32 (tokens, dim)."""
        return _scaled(next(iter(self.residuals.values())), self.frac)

    @property
    def by_task(self) -> dict[str, np.ndarray]:
        """Encoder output of every task that ran, float32 (tokens, dim)."""
        return {task: _scaled(residual, self.frac) for task, residual in self.residuals.items()}

    @property
    def logits(self) -> np.ndarray | None:
        """Class scores of the (first) task, float32, averaged over the heads; None without a classifier."""
        return _scaled(next(iter(self.scores.values())), self.logit_frac).mean(axis=0) if self.scores else None

    @property
    def cycles(self) -> int:
        """Machine cycles from start to done."""
        return self.counters["CYCLES"]


def _scaled(codes: np.ndarray, frac: int) -> np.ndarray:
    return codes.astype(np.float32) * np.float32(2.0 ** -frac)
