# SPDX-License-Identifier: Apache-2.0
"""Boards as data: what their FPGA holds and what their memory delivers."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board. ``lut``, ``ff``, ``dsp``, ``bram36``, ``uram`` count the whole device; none is set aside for a shell.

    ``ports``: memory ports of at least 128 bits that masters in the fabric can use. ``dram_bytes_per_s``: peak of the
    memory behind them, all ports together. ``clock_hz``: what we ask for, not what was reached.
    """

    name: str
    device: str
    lut: int
    ff: int
    dsp: int
    bram36: int
    uram: int
    ports: int
    dram_bytes_per_s: int
    clock_hz: int = 300_000_000

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Peak bytes that memory delivers in one cycle of ``clock_hz``."""
        return self.dram_bytes_per_s / self.clock_hz


BOARDS = {board.name: board for board in (
    # DDR4-2133, 64 bits wide, on the processing system; its four HP ports of 128 bits and two HPC ports.
    Board(name="zcu102", device="xczu9eg-ffvb1156-2-e", lut=274_080, ff=548_160, dsp=2_520, bram36=912, uram=0,
          ports=6, dram_bytes_per_s=17_064_000_000),
    # DDR4-2400, 64 bits wide; the same six ports.
    Board(name="kv260", device="xck26-sfvc784-2LV-c", lut=117_120, ff=234_240, dsp=1_248, bram36=144, uram=64,
          ports=6, dram_bytes_per_s=19_200_000_000),
    # 32 pseudo-channels of HBM2 with 14.375 GB/s each.
    Board(name="u280", device="xcu280-fsvh2892-2L-e", lut=1_303_680, ff=2_607_360, dsp=9_024, bram36=2_016, uram=960,
          ports=32, dram_bytes_per_s=460_000_000_000),
)}

BOARD_OF = {"nano": "kv260", "small": "kv260", "zcu102": "zcu102", "u280": "u280"}
"""The board beside which a machine configuration is shown."""
