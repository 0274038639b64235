# SPDX-License-Identifier: Apache-2.0
"""Result of one picture: maps of task heads, residual streams, class scores and counters, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from golden.spec.heads import HEAD_KINDS
from golden.spec.program.html_table import html_table
from golden.spec.program.image import Image
from golden.spec.program.outputs import FEATURES, KEPT, LOGITS, Output
from host.driver.host_part import HostPart
from host.driver.layout import read_output
from host.driver.maps import TaskMap, patches_left
from host.driver.notebook.thumbnails import thumbnail

NORMED = "normed_features"


@dataclass(frozen=True)
class Result(Mapping):
    """Result of one picture. ``residuals``: task -> int16 (tokens, dim) in steps of 2**-frac; ``scores``: task -> int16
    (heads, classes) in steps of 2**-logit_frac, empty without a classifier; ``maps``: results of the task heads by
    name; ``counters`` of the hardware (CYCLES is 0 on a device without timing) and ``run_id`` of the device, those of
    the job, which may have computed several ``pictures``; ``host`` computes normed features.

    ``kept``: task -> numbers of the patches that a program with token pruning left, int64, row by row over the
    picture: row ``extra_tokens + n`` of the features belongs to patch ``kept[n]``
    (:func:`host.driver.maps.on_grid`). Empty where all tokens stay.

    As a mapping it gives each result by name: a task head's :attr:`host.driver.maps.TaskMap.picture`, ``"features"``,
    with a final norm ``"normed_features"``, with a classifier ``"logits"``, and with pruning ``"kept"`` of the (first)
    task.
    """

    residuals: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    frac: int
    counters: dict[str, int]
    run_id: int
    logit_frac: int
    maps: dict[str, TaskMap] = field(default_factory=dict)
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    host: HostPart | None = field(default=None, repr=False, compare=False)
    pictures: int = 1

    def __repr__(self) -> str:
        cycles = f"; {self.cycles:,} cycles" + f" of {self.pictures} pictures" * (self.pictures > 1)
        return f"<Result: {', '.join(map(' '.join, self._sizes()))}{cycles if self.cycles else ''}>"

    def _repr_html_(self) -> str:
        facts = [*self._sizes(), ("cycles", f"{self.cycles:,}" if self.cycles else "this device has no time"),
                 ("pictures of the job", self.pictures if self.pictures > 1 else None)]
        return html_table("Result", facts, "".join(map(thumbnail, self.maps.values())))

    def _sizes(self) -> list[tuple[str, str]]:
        """Each result and its size, without computing it."""
        shapes = {name: found.shape for name, found in self.maps.items()}
        shapes |= dict.fromkeys((FEATURES, NORMED), next(iter(self.residuals.values())).shape)
        if self.scores:
            shapes[LOGITS] = next(iter(self.scores.values())).shape[-1:]
        if self.kept:
            shapes[KEPT] = next(iter(self.kept.values())).shape
        return [(name, "x".join(map(str, shapes[name]))) for name in self]

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self.maps:
            return self.maps[name].picture
        if name == FEATURES:
            return self.features
        if name == NORMED and (normed := self.normed_features) is not None:
            return normed
        if name == LOGITS and (logits := self.logits) is not None:
            return logits
        if name == KEPT and self.kept:
            return next(iter(self.kept.values()))
        raise KeyError(f"This result has {', '.join(self)}, not {name!r}.")

    def __iter__(self) -> Iterator[str]:
        normed = self.host is not None and self.host.frac is not None
        return iter(dict.fromkeys((*self.maps, FEATURES, *((NORMED,) if normed else ()),
                                   *((LOGITS,) if self.scores else ()), *((KEPT,) if self.kept else ()))))

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def features(self) -> np.ndarray:
        """Encoder output of the (first) task as float32 (tokens, dim): the residual stream after the last block,
        before a final norm."""
        return _scaled(next(iter(self.residuals.values())), self.frac)

    @property
    def normed_features(self) -> np.ndarray | None:
        """Encoder output of the (first) task after the final norm, float32 (tokens, dim): what libraries call
        ``last_hidden_state``; None for a model without a final norm."""
        return next(iter(self.normed_by_task.values()), None)

    @property
    def normed_by_task(self) -> dict[str, np.ndarray]:
        """Encoder output of every task that ran after the final norm; empty for a model without one."""
        if self.host is None or self.host.frac is None:
            return {}
        return {task: _scaled(self.host.normed(residual), self.host.frac) for task, residual in self.residuals.items()}

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


def result_of(data: bytes, outputs: list[Output], image: Image, host: HostPart, counters: dict[str, int], run_id: int,
              pictures: int) -> Result:
    """The result of a picture, whose ``outputs`` lie in the output buffer ``data``."""
    model, plan = image.model, image.plan
    codes = {(o.kind, o.task, o.name): read_output(data, o) for o in outputs}
    features, logits = ({task: array for (kind, task, _), array in codes.items() if kind == wanted}
                        for wanted in (FEATURES, LOGITS))
    maps = {o.name: TaskMap(o.name, o.kind, codes[o.kind, o.task, o.name], o.frac) for o in outputs
            if o.kind in HEAD_KINDS}
    if model.pooled:
        logits = {task: host.scores(residual) for task, residual in features.items()}
    numbers = {task: [codes[o.kind, o.task, o.name] for o in outputs if (o.kind, o.task) == (KEPT, task)]
               for task in features}
    kept = {task: patches_left(rounds, model.extra_tokens) for task, rounds in numbers.items() if rounds}
    return Result(features, logits, plan.residual_frac, counters, run_id, plan.logit_frac, maps, kept, host, pictures)


def same(one: Result, other: Result) -> bool:
    """Whether all residual streams, scores, maps and kept patches of two results are equal, bit for bit."""
    maps = [{name: found.codes for name, found in result.maps.items()} for result in (one, other)]
    pairs = [(one.residuals, other.residuals), (one.scores, other.scores), (maps[0], maps[1]), (one.kept, other.kept)]
    return all(set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a) for a, b in pairs)


def _scaled(codes: np.ndarray, frac: int) -> np.ndarray:
    return codes.astype(np.float32) * np.float32(2.0 ** -frac)
