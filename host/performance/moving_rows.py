# SPDX-License-Identifier: Apache-2.0
"""Rows that two units move in the same memory at the same time: how much the one that has to wait is delayed."""

from dataclasses import dataclass


@dataclass
class MovingRows:
    """The norm or LOAD at work: its place among the spans, when it moves rows, and how many a cycle."""

    at: int
    start: float
    end: float
    rows_per_cycle: float


def delay(begin: float, end: float, until: float, left: float, wanted: float) -> float:
    """How much longer work up to ``until`` takes when, from ``begin`` to ``end``, others leave it ``left`` of the
    ``wanted`` rows a cycle."""
    share = max(left, 1e-3) / wanted
    if share >= 1 or begin >= min(end, until):
        return 0.0
    return min(end - begin, (until - begin) / share) * (1 - share)
