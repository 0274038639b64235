# SPDX-License-Identifier: Apache-2.0
"""Scaling on scales: one program over a picture and its parts at larger sizes, features pooled and joined on the host.

The parts of all scales share jobs where the image has a program for several pictures.
The rule, and the reference that this equals: :mod:`golden.model.scales`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from golden.spec.model import ModelConfig
from host.driver.errors import InputError
from host.driver.jobs import jobs
from host.driver.session import Session

LARGEST = 16
"""Largest scale: 256 parts."""


@dataclass(frozen=True)
class Scaled:
    """Features of a picture at several scales. ``by_task``: task -> float32 [tokens, dim * scales]; ``cycles`` of all
    ``jobs`` together."""

    by_task: dict[str, np.ndarray]
    scales: tuple[int, ...]
    jobs: int
    cycles: int

    @property
    def features(self) -> np.ndarray:
        """Of the (first) task."""
        return next(iter(self.by_task.values()))


def check_scales(scales: tuple[int, ...]) -> None:
    """Raise InputError unless these are distinct numbers of 1 to :data:`LARGEST`, at least one."""
    if not scales or len(set(scales)) < len(scales) or not all(type(s) is int and 1 <= s <= LARGEST for s in scales):
        raise InputError(f"Scales are different whole numbers of 1 to {LARGEST}, like 1,2, not "
                         f"{','.join(map(str, scales)) or 'none'}.")


def run_scales(session: Session, pictures: Mapping[int, np.ndarray], task: str | None = None, *,
               progress: Callable[[int, int], None] = lambda done, jobs: None) -> Scaled:
    """Run a picture, given at each scale s as uint8 [s * height, s * width, channels], through the program ``task``.

    ``progress`` hears how many of the jobs are done. Raises InputError before any job, or what a job raises.
    """
    model, scales = session.image.model, tuple(pictures)
    check_scales(scales)
    if model.keep:
        raise InputError("At several scales the features of all patches are pooled; this program keeps some of them "
                         "only. Compile the model without keep.")
    for s, picture in pictures.items():
        wanted = (s * model.image_height, s * model.image_width, model.channels)
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape != wanted:
            came = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
            raise InputError(f"At scale {s} the program wants a uint8 picture of shape {wanted}; {came} came.")
    places = {s: _parts(picture, s, model) for s, picture in pictures.items()}
    parts = [part for found in places.values() for part in found]
    todo, codes, cycles = jobs(session.image, len(parts), task), {}, 0
    for done, job in enumerate(todo, 1):
        results = session.run([parts[place] for place in job.places], job.program)
        codes |= zip(job.places, (result.residuals for result in results), strict=True)
        cycles += results[0].cycles
        progress(done, len(todo))
    joined: dict[str, list[np.ndarray]] = {}
    first = 0
    for s, found in places.items():
        for name in codes[0]:
            stack = np.stack([codes[place][name] for place in range(first, first + len(found))])
            joined.setdefault(name, []).append(_pooled(stack, s, model))
        first += len(found)
    step = 2.0 ** -session.image.plan.residual_frac
    by_task = {name: (np.concatenate(parts, 1) * step).astype(np.float32) for name, parts in joined.items()}
    return Scaled(by_task, scales, len(todo), cycles)


def _parts(picture: np.ndarray, s: int, model: ModelConfig) -> list[np.ndarray]:
    """The s x s parts of a picture, row by row."""
    h, w = model.image_height, model.image_width
    return [np.ascontiguousarray(picture[y * h:(y + 1) * h, x * w:(x + 1) * w]) for y in range(s) for x in range(s)]


def _pooled(codes: np.ndarray, s: int, model: ModelConfig) -> np.ndarray:
    """int16 [s * s, tokens, dim] of all parts -> their means on the grid of one, float64 [tokens, dim]."""
    (rows, columns), extra = model.grid, model.extra_tokens
    sums = codes.astype(np.int64)
    large = sums[:, extra:].reshape(s, s, rows, columns, -1).transpose(0, 2, 1, 3, 4)
    grid = large.reshape(rows, s, columns, s, -1).sum((1, 3)).reshape(rows * columns, -1)
    return np.concatenate([sums[:, :extra].sum(0), grid]) / (s * s)
