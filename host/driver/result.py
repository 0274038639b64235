# SPDX-License-Identifier: Apache-2.0
"""Result of one picture: maps of task heads, residual streams, class scores and counters, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from golden.spec.heads import HEAD_KINDS
from golden.spec.program.outputs import FEATURES, LOGITS, Output
from golden.spec.quantized import Plan
from host.driver.layout import read_output
from host.driver.maps import TaskMap


@dataclass(frozen=True)
class Result(Mapping):
    """Result of one picture. ``residuals``: task -> int16 (tokens, dim) in steps of 2**-frac; ``scores``: task -> int16
    (heads, classes) in steps of 2**-logit_frac, empty without a classifier; ``maps``: results of the task heads by
    name; ``counters`` of the hardware (CYCLES is 0 on a device without timing) and ``run_id`` of the device, those of
    the job, which may have computed several ``pictures``.

    As a mapping it gives each result by name: a task head's :attr:`host.driver.maps.TaskMap.picture`, ``"features"``
    and, with a classifier, ``"logits"``.
    """

    residuals: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    frac: int
    counters: dict[str, int]
    run_id: int
    logit_frac: int
    maps: dict[str, TaskMap] = field(default_factory=dict)
    pictures: int = 1

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self.maps:
            return self.maps[name].picture
        if name == FEATURES:
            return self.features
        if name == LOGITS and (logits := self.logits) is not None:
            return logits
        raise KeyError(f"This result has {', '.join(self)}, not {name!r}.")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.maps, FEATURES, *((LOGITS,) if self.scores else ()))))

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def features(self) -> np.ndarray:
        """Encoder output of the (first) task as float32 (tokens, dim): the residual stream after the last block,
        before a final norm."""
        return _scaled(next(iter(self.residuals.values())), self.frac)

    @property
    def by_task(self) -> dict[str, np.ndarray]:
        """Encoder output of every task that ran, float32 (tokens, dim), before a final norm."""
        return {task: _scaled(residual, self.frac) for task, residual in self.residuals.items()}

    @property
    def logits(self) -> np.ndarray | None:
        """Class scores of the (first) task, float32, averaged over the heads; None without a classifier."""
        return _scaled(next(iter(self.scores.values())), self.logit_frac).mean(axis=0) if self.scores else None

    @property
    def cycles(self) -> int:
        """Machine cycles from start to done, of all pictures of the job."""
        return self.counters["CYCLES"]


def result_of(data: bytes, outputs: list[Output], plan: Plan, counters: dict[str, int], run_id: int,
              pictures: int) -> Result:
    """The result of a picture, whose ``outputs`` lie in the output buffer ``data``."""
    codes = {(o.kind, o.task, o.name): read_output(data, o) for o in outputs}
    features, logits = ({task: array for (kind, task, _), array in codes.items() if kind == wanted}
                        for wanted in (FEATURES, LOGITS))
    maps = {o.name: TaskMap(o.name, o.kind, codes[o.kind, o.task, o.name], o.frac) for o in outputs
            if o.kind in HEAD_KINDS}
    return Result(features, logits, plan.residual_frac, counters, run_id, plan.logit_frac, maps, pictures)


def same(one: Result, other: Result) -> bool:
    """Whether all residual streams, scores and maps of two results are equal, bit for bit."""
    maps = [{name: found.codes for name, found in result.maps.items()} for result in (one, other)]
    pairs = [(one.residuals, other.residuals), (one.scores, other.scores), (maps[0], maps[1])]
    return all(set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a) for a, b in pairs)


def _scaled(codes: np.ndarray, frac: int) -> np.ndarray:
    return codes.astype(np.float32) * np.float32(2.0 ** -frac)
