# SPDX-License-Identifier: Apache-2.0
"""Latencies of the gateware, for the performance model: cycles that units take besides their work."""

from dataclasses import dataclass, replace
from functools import lru_cache

from golden.spec.machine import MachineConfig


@dataclass(frozen=True)
class Latencies:
    """Cycles that gateware takes besides its work; each is the sum of its units' ``LATENCY``."""

    fetch: int = 6
    """From one issue to the next."""
    issue: int = 4
    """From a unit's ``idle`` to the issue of what waited for it."""
    load: int = 22
    """From an issue to the first array beat: operand rows into the lanes."""
    array: int = 10
    """From a tile's last beat to its first result."""
    epilogue: int = 34
    """From a result to its write."""
    norm: int = 82
    softmax: int = 49
    """From the last score of a group to its first probability, besides the cycle that each chunk of scores takes."""
    dma: int = 25
    """From an issue to the first request, and from the last beat to the last row, of a LOAD or STORE."""
    upsample: int = 20
    """From the issue of an UPSAMPLE to its first result, and from the last to its write."""
    gate: int = 60
    """From a token's last logit to its queue entries."""
    experts: int = 16
    """From the gate's ``idle`` to the first body instruction, and from an expert's naming to its first request."""
    expert: int = 12
    """More from one expert to the next."""


@lru_cache(maxsize=64)
def latencies(machine: MachineConfig) -> Latencies:
    """Those of a machine: parts of a block and of a chunk wait for each other where units are serialized."""
    more, plain = machine.serialization - 1, Latencies()
    return replace(plain, epilogue=plain.epilogue + 3 * more, norm=plain.norm + more, softmax=plain.softmax + more)
