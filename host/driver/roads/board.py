# SPDX-License-Identifier: Apache-2.0
"""What boards have in common when a package gives registers and buffers: waiting, coming to rest, one owner."""

import fcntl
import os
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from golden.spec.regs import BY_NAME, StatusBits
from host.driver.device import Buffer, Handle
from host.driver.errors import AccelError, DeviceBusy, DeviceLost, DeviceNotFound
from host.driver.registers import Registers

POLL_SECONDS = 0.05
"""Interval of register polls in addition to the interrupt, so that a lost interrupt costs little."""
BUSY_POLL_SECONDS = 0.0005
"""Interval of register polls where there is no interrupt."""


class Board(Handle):
    """A device in programmable logic that software cannot reset by a pin. Subclasses give registers, memory and how to
    sleep until an interrupt.
    """

    clock_hz: float
    closed = False

    @abstractmethod
    def read32(self, offset: int) -> int: ...

    @abstractmethod
    def write32(self, offset: int, value: int) -> None: ...

    @abstractmethod
    def allocate(self, size: int) -> Buffer: ...

    @abstractmethod
    def free(self) -> None: ...

    def wait(self, limit: int, progress: Callable[[int], None]) -> bool:
        """The ISR decides; an interrupt only says when to look, so one too many or one lost does no harm."""
        began, seconds = time.monotonic(), limit / self.clock_hz
        while not self.read32(BY_NAME["ISR"].offset):
            waited = time.monotonic() - began
            if waited >= seconds:
                return False
            progress(int(waited * self.clock_hz))
            self._sleep(min(POLL_SECONDS, seconds - waited))
        return True

    def reset(self) -> None:
        """Stop what runs: software reaches no reset pin. Raises DeviceLost where that does not bring the machine and
        its bus to rest."""
        self._recover()
        if not Registers(self)["STATUS"] & StatusBits.DRAINED:
            raise DeviceLost(f"The bus of the device {self.name} does not come to rest, and software reaches no reset "
                             f"pin: load the bitstream again.")

    def close(self) -> None:
        """Stop what runs and give memory and device back. A no-op the second time."""
        if not self.closed:
            with suppress(AccelError):
                Registers(self).abort()
            self._release()
            self.closed = True

    def _recover(self) -> None:
        regs = Registers(self)
        regs.require_id()
        if not regs.abort():
            raise DeviceLost(f"The device {self.name} runs a job that does not stop: load the bitstream again.")

    def _sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, BUSY_POLL_SECONDS))

    def _release(self) -> None:
        self.free()

    def _check_open(self) -> None:
        if self.closed:
            raise DeviceLost(f"The device {self.name} was closed.")


class Lock:
    """Ownership of what ``file`` configures, among all processes that use this lock; gone with the process. Raises
    DeviceBusy, DeviceNotFound."""

    def __init__(self, file: Path, name: str):
        try:
            self._fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceNotFound(f"{file} cannot be read: {error.strerror}.") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DeviceBusy(f"The device {name} belongs to another process, or to another part of this one. Wait for "
                             f"it or stop it.") from None

    def release(self) -> None:
        """Let the next owner in."""
        os.close(self._fd)
