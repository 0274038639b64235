# SPDX-License-Identifier: Apache-2.0
"""Tensors of a result by name, in the order in which a frame makes them, and the first value that differs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.spec.program.outputs import FEATURES, LOGITS
from host.driver.result import Result

AXES = {2: ("token", "channel"), 3: ("line", "column", "channel")}
"""What the axes of a tensor count, by how many there are; scores are heads x classes."""


def tensors_of(pixels: np.ndarray, result: Result) -> dict[str, np.ndarray]:
    """The picture and all results of a frame as the machine leaves them: integers, not yet scaled."""
    return {"input": pixels, **{f"{FEATURES}.{task}": codes for task, codes in result.residuals.items()},
            **{f"{LOGITS}.{task}": codes for task, codes in result.scores.items()},
            **{f"maps.{name}": found.codes for name, found in result.maps.items()}}


@dataclass(frozen=True)
class Difference:
    """``count`` values of the tensor ``name`` differ; the first one at ``place`` is ``a`` here and ``b`` there."""

    name: str
    place: dict[str, int]
    a: int
    b: int
    count: int
    values: int

    def __str__(self) -> str:
        where = ", ".join(f"{axis} {index}" for axis, index in self.place.items())
        return (f"{self.name} differs first at {where}: {self.a} against {self.b}; {self.count:,} of {self.values:,} "
                f"values differ")


def differences(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> list[Difference]:
    """One for each tensor that differs, in the order of ``one``. Both must hold tensors of the same names and shapes,
    or ValueError says which do not.
    """
    if list(one) != list(other):
        raise ValueError(f"One side holds {', '.join(one) or 'nothing'}; the other {', '.join(other) or 'nothing'}.")
    return [found for name in one if (found := _difference(name, one[name], other[name])) is not None]


def _difference(name: str, one: np.ndarray, other: np.ndarray) -> Difference | None:
    if one.shape != other.shape:
        raise ValueError(f"{name} is {' x '.join(map(str, one.shape))} on one side and "
                         f"{' x '.join(map(str, other.shape))} on the other.")
    places = np.argwhere(one != other)
    if not len(places):
        return None
    first = tuple(int(index) for index in places[0])
    axes = ("head", "class") if name.startswith(f"{LOGITS}.") else AXES.get(one.ndim, range(one.ndim))
    return Difference(name, dict(zip(map(str, axes), first, strict=True)), int(one[first]), int(other[first]),
                      len(places), one.size)
