# SPDX-License-Identifier: Apache-2.0
"""What a kit is made for: a board, a machine, a clock; and which memory port each of the machine's buses takes."""

from dataclasses import dataclass
from functools import cached_property

from golden.spec.boards import Board
from golden.spec.boards.platform import ZynqPlatform
from golden.spec.machine import MACHINES, PAGE, MachineConfig
from golden.spec.model import require
from golden.spec.tiling import ceil_div
from hw.top import ports

LOWEST_CLOCK_HZ, HIGHEST_CLOCK_HZ = 25_000_000, 500_000_000
CONTROL, MAIN = "s_axi_control", "m_axi_main"
CLOCK, RESET, INTERRUPT = "ap_clk", "ap_rst_n", "interrupt"
VENDOR, LIBRARY = "edge-moe", "ip"


@dataclass(frozen=True)
class Choice:
    """A board, the machine on it, its clock, and the bytes of the buffer that the overlay reserves.

    Raises ConfigError where the board has fewer memory ports than the machine, or the clock is out of range.
    """

    board: Board
    machine: MachineConfig
    clock_hz: int
    buffer_bytes: int = 128 << 20

    def __post_init__(self):
        require(LOWEST_CLOCK_HZ <= self.clock_hz <= HIGHEST_CLOCK_HZ, f"The clock must be {LOWEST_CLOCK_HZ / 1e6:g} to "
                f"{HIGHEST_CLOCK_HZ / 1e6:g} MHz, not {self.clock_hz / 1e6:g}.")
        require(self.buffer_bytes > 0 and self.buffer_bytes % PAGE == 0,
                f"The buffer must be whole pages of {PAGE} bytes, not {self.buffer_bytes} bytes.")
        require(len(self.managers) <= self.board.ports, f"{self.machine.name} has {len(self.managers)} memory ports, "
                f"{self.board.name} {self.board.ports}.")
        platform = self.board.platform
        if isinstance(platform, ZynqPlatform):
            for bus, bits in self.managers.items():
                require(bits == 8 * self.board.port_bytes, f"{bus} of {self.machine.name} has {bits} bits, a memory "
                        f"port of {self.board.name} {8 * self.board.port_bytes}.")
            require(self.buffer_bytes < platform.dram_bytes,
                    f"{self.board.name} has {platform.dram_bytes} bytes of memory, fewer than the buffer.")

    @cached_property
    def managers(self) -> dict[str, int]:
        """Data bits of the machine's memory buses; those that want the best ports come first: weights, then the main
        port."""
        found = ports(self.machine)
        names = {name.removesuffix("_rdata") for name in found if name.startswith("m_axi_") and name.endswith("_rdata")}
        return {name: found[f"{name}_rdata"].shape for name in sorted(names, key=lambda name: (name == MAIN, name))}

    @property
    def memory(self) -> dict[str, str]:
        """Memory port of the processing system by bus."""
        platform = self.board.platform
        assert isinstance(platform, ZynqPlatform)
        return dict(zip(self.managers, platform.facts.order, strict=False))

    @property
    def clock_mhz(self) -> str:
        """The clock in MHz, as short as it can be written."""
        return f"{self.clock_hz / 1e6:g}"


def choice(board: Board, machine: MachineConfig | None = None, clock_hz: int | None = None,
           buffer_bytes: int = Choice.buffer_bytes) -> Choice:
    """A choice with what the board's file proposes where nothing is given."""
    return Choice(board, machine or MACHINES[board.platform.machine], clock_hz or board.clock_hz,
                  ceil_div(buffer_bytes, PAGE) * PAGE)
