# SPDX-License-Identifier: Apache-2.0
"""DRAM timing: speed of the memory as the accelerator sees it, in cycles of its clock."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DramTiming:
    """``bytes_per_cycle`` of all ports together; ``latency`` cycles from a request to its first data; nothing moves for
    ``refresh_length`` cycles in every ``refresh_period``."""

    bytes_per_cycle: float = 64.0
    latency: int = 100
    refresh_period: int = 1
    refresh_length: int = 0

    @property
    def awake(self) -> float:
        """Share of the cycles in which data moves."""
        return 1 - self.refresh_length / self.refresh_period
