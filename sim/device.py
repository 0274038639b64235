# SPDX-License-Identifier: Apache-2.0
"""The simulated board as a device of the host driver: the same protocol as a real one, in process."""

from collections.abc import Callable

from golden.spec.machine import MACHINES, ZCU102, MachineConfig
from host.driver.device import Buffer
from host.driver.errors import BusError, OutOfMemory
from sim.board import DRAM_BYTES, Board
from sim.board.settings import DRAM_BASE, DramSettings

PAGE = 4096


class SimDevice:
    """``machine``: a configuration or its name; ``dram``: how the memory behaves. The first use builds the simulator.

    ``board`` is the simulated board itself, for tools that look inside.
    """

    clock_hz = 300e6

    def __init__(self, machine: MachineConfig | str = ZCU102, dram: DramSettings | None = None, *,
                 dram_bytes: int = DRAM_BYTES, progress: Callable[[str], None] = lambda text: None):
        config = MACHINES[machine] if isinstance(machine, str) else machine
        self.name = f"sim:{config.name}"
        self.board = Board(config, dram, dram_bytes=dram_bytes, progress=progress)
        self._next = 0

    def read32(self, offset: int) -> int:
        value, response = self.board.read32(offset)
        if response:
            raise BusError(f"Register 0x{offset:03x} answered a read with response {response}.")
        return value

    def write32(self, offset: int, value: int) -> None:
        if response := self.board.write32(offset, value):
            raise BusError(f"Register 0x{offset:03x} answered a write with response {response}.")

    def allocate(self, size: int) -> Buffer:
        begin, end = self._next, self._next + -(-size // PAGE) * PAGE
        if end > len(self.board.dram):
            raise OutOfMemory(f"{size} bytes do not fit: {len(self.board.dram) - begin} of {len(self.board.dram)} "
                              f"bytes of simulated DRAM are free. Give SimDevice a larger dram_bytes.")
        self._next = end
        return Buffer(DRAM_BASE + begin, self.board.dram[begin:begin + size])

    def free(self) -> None:
        self._next = 0

    def wait(self, limit: int, progress: Callable[[int], None]) -> bool:
        self.board.run(limit, progress=progress)
        return self.board.interrupt

    def close(self) -> None:
        self.board.close()
