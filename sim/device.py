# SPDX-License-Identifier: Apache-2.0
"""The simulated board as a device of the host driver: the same protocol as a real one, in process."""

from collections.abc import Callable

from golden.files.machine_file import machine_of
from golden.spec.boards.dram import DramTiming
from golden.spec.machine import BEAT_BYTES, PAGE, ZCU102, MachineConfig
from golden.spec.model import ConfigError
from golden.spec.regs import BY_NAME
from host.driver.device import Buffer, Handle
from host.driver.errors import BusError, DeviceLost, DeviceNotFound, OutOfMemory
from sim.board import CHUNK, DRAM_BYTES, Board, BoardError
from sim.board.build import BuildError
from sim.board.settings import DRAM_BASE, DramSettings

ISR = BY_NAME["ISR"].offset


def dram_model(settings: DramSettings, machine: MachineConfig) -> DramTiming:
    """The timing of a simulated DRAM for the performance model, which cannot predict random stalls."""
    everything = BEAT_BYTES + machine.weight_bytes_per_cycle
    return DramTiming(settings.bytes_per_cycle or everything, settings.latency, settings.refresh_period,
                      settings.refresh_length)


class SimDevice(Handle):
    """``machine``: a configuration or its name; ``dram``: how the memory behaves. The first use builds the simulator.

    ``board`` is the simulated board itself, for tools that inspect it. Raises DeviceNotFound when there is no such
    machine or its simulator cannot be built; everything after ``close`` but ``close`` raises DeviceLost.
    """

    clock_hz = 300e6

    def __init__(self, machine: MachineConfig | str = ZCU102, dram: DramSettings | None = None, *,
                 dram_bytes: int = DRAM_BYTES, progress: Callable[[str], None] = lambda text: None):
        try:
            config = machine_of(machine)
        except ConfigError as error:
            raise DeviceNotFound(str(error)) from None
        self.name = f"sim:{config.name}"
        try:
            self.board = Board(config, dram, dram_bytes=dram_bytes, progress=progress)
        except BuildError as error:
            raise DeviceNotFound(str(error)) from None
        self._next, self._open, self._settings = 0, True, dram or DramSettings()
        self.retired: Callable[[int, int], None] | None = None
        """Hears in :meth:`wait` of each instruction that ends: its unit, and the cycle after the start of the job. It
        must not touch the device. Waiting is faster with None."""

    @property
    def dram(self) -> DramTiming:
        """Timing of the memory that the device was opened with, for the performance model."""
        return dram_model(self._settings, self.board.config)

    def read32(self, offset: int) -> int:
        self._check_open()
        try:
            value, response = self.board.read32(offset)
        except BoardError as error:
            raise BusError(str(error)) from None
        if response:
            raise BusError(f"Register 0x{offset:03x} answered a read with response {response}.")
        return value

    def write32(self, offset: int, value: int) -> None:
        self._check_open()
        try:
            response = self.board.write32(offset, value)
        except BoardError as error:
            raise BusError(str(error)) from None
        if response:
            raise BusError(f"Register 0x{offset:03x} answered a write with response {response}.")

    def allocate(self, size: int) -> Buffer:
        self._check_open()
        begin, end = self._next, self._next + -(-size // PAGE) * PAGE
        if end > len(self.board.dram):
            raise OutOfMemory(f"{size} bytes do not fit: {len(self.board.dram) - begin} of {len(self.board.dram)} "
                              f"bytes of simulated DRAM are free. Give SimDevice a larger dram_bytes.")
        self._next = end
        return Buffer(DRAM_BASE + begin, self.board.dram[begin:begin + size])

    def free(self) -> None:
        self._next = 0

    def wait(self, limit: int, progress: Callable[[int], None]) -> bool:
        """The ISR decides, as on a board: an interrupt that was disabled meanwhile is not waited for."""
        self._check_open()
        if self.retired is not None:
            return self._watch(self.retired, limit)
        done = 0
        while not (ended := self.board.interrupt or self.read32(ISR) != 0) and done < limit:
            done += self.board.run(min(CHUNK, limit - done))[0]
            progress(done)
        return ended

    def _watch(self, retired: Callable[[int, int], None], limit: int) -> bool:
        """Like :meth:`wait`, stopping at each instruction that ends. Registers are not read meanwhile: the clock would
        go on unwatched."""
        from sim.trace import OVER, RETIRES  # late: it needs gateware, which a simulator that is built does not

        units, begin = {component: int(unit) for unit, component in RETIRES.items()}, self.board.cycle
        for component in units:
            self.board.watch(component, OVER[component])
        try:
            while not self.board.interrupt and (done := self.board.cycle - begin) < limit:
                for component in sorted(self.board.run(limit - done)[1]):
                    retired(units[component], self.board.cycle - begin)
        finally:
            self.board.unwatch()
        return self.board.interrupt

    def reset(self) -> None:
        """Pull the reset pin; DRAM keeps its contents."""
        self._check_open()
        self.board.reset()

    def close(self) -> None:
        self._open = False
        self.board.close()

    def _check_open(self) -> None:
        if not self._open:
            raise DeviceLost(f"The device {self.name} was closed.")
