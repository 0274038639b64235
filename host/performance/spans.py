# SPDX-License-Identifier: Apache-2.0
"""What goes into a timeline and what comes out: arrivals at the experts, the time of each instruction."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    """An expert with work: how many tokens it has, and the number of the first."""

    expert: int
    tokens: int
    first: int


@dataclass(frozen=True)
class Span:
    """One instruction's stay in its unit: ``start`` to ``end``, when its last write has landed. ``waited``: cycles the
    array then stood still for weights."""

    index: int
    expert: int
    start: float
    end: float
    waited: float = 0
