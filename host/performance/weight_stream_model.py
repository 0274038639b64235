# SPDX-License-Identifier: Apache-2.0
"""Weight-stream model: when lines arrive, limited by DRAM, ports and free space in the ring.

The main port is served first; the weight ports, which carry equal shares of each line, share the rest equally. When a
refresh falls is not known: it slows all things evenly.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Store:
    """A buffer for lines: nothing is requested that does not fit."""

    lines: int
    held: deque[tuple[float, int]] = field(default_factory=deque)
    """Lines in it by the time at which they are released."""
    level: int = 0

    def room(self, lines: int) -> float:
        """When ``lines`` more fit, which are then taken."""
        when = 0.0
        while self.level + lines > self.lines and self.held:
            when, count = self.held.popleft()
            self.level -= count
        self.level += lines
        return when

    def release(self, when: float, lines: int) -> None:
        self.held.append((when, lines))


@dataclass
class WeightStreamModel:
    """The weight stream: what has been asked for and when it is there."""

    lines_per_cycle: float
    lines_shared_with_main: float
    latency: int
    ring: Store
    params: Store
    fetched: float = 0.0
    main: list[tuple[float, float]] = field(default_factory=list)
    """When the main port takes its part of the bandwidth."""

    def _fetch(self, lines: float) -> float:
        """Arrival of ``lines`` more."""
        while self.main and self.main[0][1] <= self.fetched:
            self.main.pop(0)
        for begin, end in self.main:
            alone = max(0.0, begin - self.fetched) * self.lines_per_cycle
            if lines <= alone:
                break
            shared = (end - max(begin, self.fetched)) * self.lines_shared_with_main
            if lines <= alone + shared:
                self.fetched = max(begin, self.fetched) + (lines - alone) / self.lines_shared_with_main
                return self.fetched + self.latency
            lines -= alone + shared
            self.fetched = end
        self.fetched += lines / self.lines_per_cycle
        return self.fetched + self.latency

    def hold_back(self, until: float) -> None:
        """Nothing is requested before ``until``."""
        self.fetched = max(self.fetched, until)

    def lines(self, lines: int, store: Store | None = None) -> float:
        """Arrival of the last of ``lines``; what goes to no store always fits."""
        if store is not None:
            # The last of the freed lines comes back as fresh data a latency later.
            self.hold_back(store.room(lines))
        return self._fetch(lines)
