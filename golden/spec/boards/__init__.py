# SPDX-License-Identifier: Apache-2.0
"""Board data: resources of the FPGA and speed of the memory, one TOML file per board."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from golden.spec.boards.dram import DramTiming
from golden.spec.boards.platform import (
    AlveoPlatform,
    BoardError,
    ZynqPlatform,
    check_fields,
    field_kinds,
    read_platform,
)

__all__ = ["BOARDS", "BOARD_OF", "FOLDER", "Board", "BoardError", "read_board"]
FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board. ``lut``, ``ff``, ``dsp``, ``bram36``, ``uram`` count the whole device; none is set aside for a shell.

    ``ports``: memory ports that masters in the fabric can use, each of ``port_bytes`` a cycle, with bursts of at most
    ``max_burst`` beats. ``dram_bytes_per_s``: peak of the DRAM, all ports together; ``dram_latency_ns``: from a request
    to its first data; DRAM pauses for ``refresh_ns`` in every ``refresh_period_ns``. ``clock_hz``: target clock, not
    the achieved one. ``platform``: what surrounds the fabric. ``sources``: where each number comes from.
    """

    name: str
    device: str
    lut: int
    ff: int
    dsp: int
    bram36: int
    uram: int
    ports: int
    port_bytes: int
    max_burst: int
    dram_bytes_per_s: int
    dram_latency_ns: int
    refresh_period_ns: int
    refresh_ns: int
    clock_hz: int
    platform: ZynqPlatform | AlveoPlatform
    sources: dict[str, str]

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Peak bytes that memory delivers in one cycle of ``clock_hz``."""
        return self.dram_bytes_per_s / self.clock_hz

    def cycles(self, nanoseconds: float) -> int:
        """Cycles of ``clock_hz``."""
        return round(nanoseconds * self.clock_hz / 1e9)

    @property
    def dram(self) -> DramTiming:
        """The memory in cycles of ``clock_hz``: peak bandwidth, latency, refresh."""
        return DramTiming(self.dram_bytes_per_cycle, self.cycles(self.dram_latency_ns),
                          self.cycles(self.refresh_period_ns), self.cycles(self.refresh_ns))


def read_board(path: Path) -> Board:
    """The board described by one file, named like the file. Raises :class:`BoardError`."""
    try:
        found = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"{path.name} is not TOML: {error}.") from None
    kinds = field_kinds(Board) | {"platform": dict}
    del kinds["name"]
    check_fields(path.name, kinds, found, unsourced={"platform"}, sources="[sources]")
    platform = read_platform(path.name, found.pop("platform"))
    return Board(name=path.stem, platform=platform, **found)


BOARDS = {path.stem: read_board(path) for path in sorted(FOLDER.glob("*.toml"))}

BOARD_OF = {"nano": "kv260", "small": "kv260", "kv260": "kv260", "zcu102": "zcu102", "u280": "u280"}
"""Board that a machine configuration's size is compared with; what a board takes is ``machine`` of its platform."""
