# SPDX-License-Identifier: Apache-2.0
"""Comparisons of a unit's results with a real function, kept in the record that a bench's run leaves for ``sim.table``.

A coroutine measures with :func:`nearest` and calls :meth:`Accuracy.keep`, which fails beyond the bound.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

VARIABLE = "BENCH_ACCURACY"
"""Environment variable with the file of a run; without it nothing is kept."""
LEAST_RATIO = 0.25
"""A bound more than four times the largest error says too little: the bench fails."""


@dataclass(frozen=True)
class Accuracy:
    """The value of ``unit`` that is nearest to its bound: its ``error`` against ``function``, and the ``bound``, in the
    function's own units; ``values`` were compared, and ``largest`` is the largest error of them.
    """

    unit: str
    function: str
    error: float
    bound: float
    largest: float
    values: int

    @property
    def ratio(self) -> float:
        """Error over bound; 0 where nothing may differ and nothing does."""
        return self.error / self.bound if self.bound else float("inf") if self.error else 0.0

    def keep(self) -> None:
        """Leave this in the record of the run. Raises ``AssertionError`` when the error is beyond its bound, or the
        bound (unless it is 0) beyond 1 / LEAST_RATIO times the error."""
        if os.environ.get(VARIABLE):
            with Path(os.environ[VARIABLE]).open("a") as file:
                file.write(json.dumps(asdict(self)) + "\n")
        print(f"{self.unit} against {self.function}: {self.error:.3g} of {self.bound:.3g} ({self.ratio:.2f})")
        assert self.ratio <= 1, f"{self} is beyond its bound."
        assert not self.bound or self.ratio >= LEAST_RATIO, f"The bound of {self} says too little."


def nearest(unit: str, function: str, got, expected, bound) -> Accuracy:
    """:class:`Accuracy` of ``got`` against ``expected``, arrays of one shape; ``bound`` is one for all or one for each.

    Raises ``ValueError`` for no values, or one that is no number.
    """
    error = np.abs(np.asarray(got, np.float64) - np.asarray(expected, np.float64)).ravel()
    limit = np.broadcast_to(np.asarray(bound, np.float64), np.shape(expected)).ravel()
    if not error.size or not np.isfinite(error).all() or not np.isfinite(limit).all():
        raise ValueError(f"{unit} cannot be compared with {function}: {error.size} values, or one that is no number.")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(limit > 0, error / limit, np.where(error > 0, np.inf, 0.0))
    at = int(ratio.argmax())
    return Accuracy(unit, function, float(error[at]), float(limit[at]), float(error.max()), error.size)


def read(path: Path) -> list[dict]:
    """What the coroutines of a run kept in ``path``; nothing where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
