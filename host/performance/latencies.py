# SPDX-License-Identifier: Apache-2.0
"""Latencies between units: what an instruction takes besides its work, from the latencies of the specification."""

from dataclasses import dataclass
from functools import cache

from golden.spec.latency import unit_latencies
from golden.spec.machine import MachineConfig

RESIDUAL_HANDOVER, NORM_HANDOVER, SOFTMAX_HANDOVER, DMA_HANDOVER, UPSAMPLE_HANDOVER, GATE_HANDOVER = 4, 9, 3, 9, 11, 9
"""Cycles of queues and memories at both ends of a unit, between its own latency and that of the next one, as measured
on the machine; ``tests/e2e/test_performance_model.py`` compares the sums."""
EXPERTS, EXPERT, KEEP = 16, 12, 12
"""Cycles of the sequencer's loop over experts, and of a KEEP besides its work, measured likewise."""


@dataclass(frozen=True)
class Latencies:
    """Cycles that the machine takes besides its work.

    ``fetch``: from one issue to the next. ``issue``: from a unit's last write to the issue of what waited for it.
    ``load``: from an issue to the first array beat. ``array``: from a tile's last beat to its first result.
    ``epilogue``: from a result to its write. ``norm``: of a NORM. ``softmax``: from the last score of a group to its
    first probability, besides the cycle that each chunk of scores takes. ``dma``: from an issue to the first request,
    and from the last beat to the last row, of a LOAD or STORE. ``upsample``: from the issue of
    an UPSAMPLE to its first result, and from the last to its write. ``gate``: from a token's last logit to its queue
    entries. ``keep``: of a KEEP besides its work. ``experts``: from the gate's ``idle`` to the first body instruction,
    and from an expert's naming to its first request; ``expert``: more from one expert to the next.
    """

    fetch: int
    issue: int
    load: int
    array: int
    epilogue: int
    norm: int
    softmax: int
    dma: int
    upsample: int
    gate: int
    experts: int = EXPERTS
    expert: int = EXPERT
    keep: int = KEEP


@cache
def latencies(machine: MachineConfig) -> Latencies:
    """Those of a machine."""
    unit = unit_latencies(machine)
    return Latencies(
        fetch=unit.fetch, issue=unit.activity + unit.sequencer - 1, load=unit.control - 1, array=unit.array,
        epilogue=unit.residual + RESIDUAL_HANDOVER, norm=unit.norm + NORM_HANDOVER,
        softmax=unit.softmax + SOFTMAX_HANDOVER, dma=unit.load_store + unit.engine + DMA_HANDOVER,
        upsample=unit.upsample + UPSAMPLE_HANDOVER, gate=unit.gate + GATE_HANDOVER)
