# SPDX-License-Identifier: Apache-2.0
"""Settings of the simulated DRAM: latency, bandwidth, refresh, stalls, faults; all seeded."""

import ctypes
import enum
from dataclasses import asdict, dataclass

from golden.spec.boards import BOARDS
from golden.spec.boards import Board as BoardFacts
from golden.spec.boards.dram import DramTiming

DRAM_BASE = 0x8_0000_0000
"""Where DRAM begins on the simulated board: the high DDR of a Zynq UltraScale+, so that 64-bit addresses are used."""


class Response(enum.IntEnum):
    """AXI responses."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


@dataclass(frozen=True, kw_only=True)
class DramSettings(DramTiming):
    """Timing of the simulated DRAM: ``bytes_per_cycle`` 0 means as fast as the ports; ``stall`` is the chance of a
    stall of each channel in each cycle, in [0, 1).
    """

    bytes_per_cycle: float = 0.0
    stall: float = 0.0
    seed: int = 1

    def to_c(self) -> "CSettings":
        return CSettings(self.seed, self.latency, round(1024 * self.bytes_per_cycle), self.refresh_period,
                         self.refresh_length, round(65536 * self.stall))


IDEAL = DramSettings(bytes_per_cycle=64)
"""64 bytes a cycle, 100 cycles of latency."""


def memory_of(board: BoardFacts) -> DramSettings:
    """The memory of a board in cycles of its clock: peak bandwidth, latency, refresh."""
    return DramSettings(**asdict(board.dram))


ZCU102_DDR4 = memory_of(BOARDS["zcu102"])
"""DDR4-2133, 64 bits, at 300 MHz: 56.9 bytes a cycle at most, 105 of every 2340 cycles for refresh, latency 120."""
DRAM_PRESETS = {"ideal": IDEAL, "zcu102-ddr4": ZCU102_DDR4}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One injected bus fault at the beat that holds byte ``address``: it is answered with ``response``, or never again
    from there (``dead``); its ``rlast`` is inverted; after it the burst ends, a write's without an answer (``cut``),
    and ``surplus`` beats (a write's: responses) follow without a request, after ``gap`` cycles.
    """

    address: int
    response: Response = Response.OKAY
    write: bool = False
    dead: bool = False
    rlast: bool = False
    cut: bool = False
    surplus: int = 0
    gap: int = 0

    def to_c(self) -> "CFault":
        return CFault(self.address, self.response, self.write, self.dead, self.rlast, self.cut, self.surplus, self.gap)


class CSettings(ctypes.Structure):
    """Mirror of BoardSettings in slaves.h."""

    _fields_ = [("seed", ctypes.c_uint64), ("latency", ctypes.c_uint32), ("bytes_per_1024", ctypes.c_uint32),
                ("refresh_period", ctypes.c_uint32), ("refresh_length", ctypes.c_uint32), ("stall", ctypes.c_uint32)]


class CFault(ctypes.Structure):
    """Mirror of BoardFault in slaves.h."""

    _fields_ = [("address", ctypes.c_uint64), ("response", ctypes.c_uint32), ("write", ctypes.c_uint32),
                ("dead", ctypes.c_uint32), ("rlast", ctypes.c_uint32), ("cut", ctypes.c_uint32),
                ("surplus", ctypes.c_uint32), ("gap", ctypes.c_uint32)]


class CRead(ctypes.Structure):
    """Mirror of BoardRead in slaves.h: a read burst of ``beats`` beats of its port; ``port`` 0 is the main port, 1 + p
    weight port p."""

    _fields_ = [("address", ctypes.c_uint64), ("port", ctypes.c_uint32), ("beats", ctypes.c_uint32)]
