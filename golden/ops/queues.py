# SPDX-License-Identifier: Apache-2.0
"""Expert queues: an expert's tokens in order of arrival, each with its weight; scatter-add of the results."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.ops.arith import DomainError, integers
from golden.ops.epilogue import to_residual


@dataclass(frozen=True)
class Queue:
    """Tokens int64 [n] in order of arrival and their weights uint16 [n] for one expert."""

    tokens: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


def fill(chosen, weights, experts: int, first_token: int = 0, queues: list[Queue] | None = None) -> list[Queue]:
    """One :class:`Queue` for each of ``experts``: chosen int [N, k] and weights uint16 [N, k] come row by row.

    ``queues`` are kept in front (``append``); token i is numbered ``first_token + i``.
    """
    chosen = integers(chosen, "chosen")
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < experts:
        raise DomainError(f"Chosen experts must lie in 0..{experts - 1}, not {chosen.min()}..{chosen.max()}.")
    if chosen.shape != np.shape(weights):
        raise DomainError(f"Each choice needs a weight: {chosen.shape} and {np.shape(weights)} differ.")
    if queues is not None and len(queues) != experts:
        raise DomainError(f"Cannot append choices among {experts} experts to {len(queues)} queues.")
    result = []
    for e in range(experts):
        token, place = np.nonzero(chosen == e)  # row-major: order of arrival
        queue = Queue(token + first_token, np.asarray(weights)[token, place].astype(np.uint16))
        if queues is not None:
            queue = Queue(np.concatenate([queues[e].tokens, queue.tokens]),
                          np.concatenate([queues[e].weights, queue.weights]))
        result.append(queue)
    return result


def arrivals(chosen, before: Sequence[int] = ()) -> list[int]:
    """Experts in the order in which their queues got their first entries: chosen int [N, k] comes row by row, after
    the experts ``before`` (``append``)."""
    return list(dict.fromkeys([*before, *integers(chosen, "chosen").reshape(-1).tolist()]))


def scatter_add(x: np.ndarray, tokens, v) -> np.ndarray:
    """A copy of x int16 [N, D] in which row ``tokens[i]`` became ``sat16(row + v[i])``, in order of i."""
    tokens, v, x = integers(tokens, "tokens"), integers(v, "v"), x.copy()
    left = np.arange(len(tokens))
    while len(left):  # one round, unless a token occurs more than once: later occurrences take further rounds
        first = np.sort(np.unique(tokens[left], return_index=True)[1])
        now = left[first]
        x[tokens[now]] = to_residual(v[now], x[tokens[now]])
        left = np.delete(left, first)
    return x
