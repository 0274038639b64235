# SPDX-License-Identifier: Apache-2.0
"""Latencies of the units: cycles from input to output when nothing waits, as functions of the machine configuration.

Each is the ``LATENCY`` of a gateware component, which its bench measures; ``tests/hw/test_latencies.py`` holds both
against each other.
"""

from dataclasses import dataclass
from math import log2

from golden.spec.machine import TN, MachineConfig

COLUMN = 4
"""Most multipliers of the array whose products are added one after another, in the blocks' own adders."""


@dataclass(frozen=True, kw_only=True)
class UnitLatencies:
    """``fetch``: least cycles from one issue to the next. ``sequencer``: from a unit's ``idle`` to the issue of what
    waited for it; ``activity``: from the end of a unit's work to its ``idle``. ``control``: from an issue to the first
    array beat of a full token group: operand rows into the lanes. ``array``: from a tile's last beat to its first
    result. ``epilogue``: from a result to its write to keys, values and operands; ``residual``: to residual rows.
    ``norm``: from an issue to the last write, without the passes over the rows. ``softmax``: from the last scores of a
    token group to its division, without a cycle for each part of its scores. ``gate``: from a token's last logit to its
    queue entry. ``load_store``: from an issue to the first request; ``engine``: from there to the bus.
    ``upsample``: from an issue to the first row that is read.
    """

    fetch: int
    sequencer: int
    activity: int
    control: int
    array: int
    epilogue: int
    residual: int
    norm: int
    softmax: int
    gate: int
    load_store: int
    upsample: int
    engine: int


def unit_latencies(m: MachineConfig) -> UnitLatencies:
    """The latencies of machine ``m``. Parts of a block and of a chunk wait for each other where vector units are
    serialized, and are summed by smaller trees."""
    more = m.serialization - 1
    trees = int(log2(TN // m.serialization)) + (more > 0)
    """Sum trees of the norm, and the choice of a part."""
    split = 3 if m.clusters > 1 else 0
    """Of a NORM into a part for each cluster."""
    column = min(COLUMN, m.tk)
    return UnitLatencies(
        fetch=6, sequencer=2, activity=3, control=19 + 2 * (m.tm - 2), array=7 + column + int(log2(m.tk // column)),
        epilogue=24 + 3 * more, residual=30 + 3 * more, norm=68 + trees + more + split,
        softmax=39 + int(log2(m.lanes)) + more,
        gate=51, load_store=3, upsample=9, engine=13)
