# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a model on a set of pictures: parts of the set in parallel, on every core or on a Dask cluster."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from host.datasets.folder import Sample
from host.evaluation.predictors import MODELS, predictor_of
from host.evaluation.result import Result
from host.parallel_map import parallel_map

PART = 10
"""Pictures of one part."""


class Pictures(Protocol):
    """A set of pictures, such as :class:`host.datasets.Folder`; picklable."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Part:
    """Pictures ``first .. last - 1`` of a set, for a model file on a device."""

    model: str
    device: str
    pictures: Pictures
    first: int
    last: int


def evaluate(model: Path, pictures: Pictures, device: str = "float", *, scheduler: str | None = None,
             workers: int | None = None, report: Callable[[int, int], None] = lambda done, total: None) -> Result:
    """Accuracy of a model on all pictures. Those of another size are resized to the model's, labels by nearest one.

    ``device``: a key of :data:`host.evaluation.predictors.MODELS`, or a device of which there is one, so that pictures
    follow each other.
    """
    total, workers = len(pictures), workers if device in MODELS or scheduler else 1
    parts = [Part(str(model), device, pictures, first, min(first + PART, total)) for first in range(0, total, PART)]
    found = parallel_map(evaluate_part, parts, scheduler=scheduler, workers=workers,
                         report=lambda done, _: report(min(done * PART, total), total))
    return sum(found, Result())


def evaluate_part(part: Part) -> Result:
    """Accuracy on one part."""
    predictor, result = predictor_of(part.model, part.device), Result()
    config = predictor.config
    for index in range(part.first, part.last):
        sample = part.pictures.read(index).at_size(config.image_height, config.image_width)
        result.add(predictor(sample.image), sample, config.task_heads)
    return result
