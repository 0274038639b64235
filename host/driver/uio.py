# SPDX-License-Identifier: Apache-2.0
"""A board under Linux: registers and interrupt through UIO, memory through u-dma-buf. Needs numpy only.

The device tree gives the accelerator a ``generic-uio`` node (its registers are map 0, its interrupt the UIO's) and
the ``u-dma-buf`` module a contiguous buffer. Files used, below ``/dev``: ``uioN``, ``udmabufN``; below ``/sys/class``:
``uio/uioN/maps/map0/size``, ``u-dma-buf/udmabufN/{phys_addr,size,sync_for_cpu,sync_for_device}``, and the thermometers.
:mod:`host.driver.sysfs` finds node, buffer and clock.
"""

import fcntl
import mmap
import os
import select
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np

from golden.spec.machine import PAGE
from golden.spec.regs import MAP_BYTES
from golden.spec.tiling import ceil_div
from host.driver.device import Buffer
from host.driver.errors import AccelError, DeviceBusy, DeviceLost, DeviceNotFound, OutOfMemory
from host.driver.registers import Registers
from host.driver.roads.board import Board
from host.driver.sysfs import MODULE, OVERLAY, clock_of, find_buffer, find_uio

SYNC_LIMIT = 1 << 32
"""Bytes that the offset of a u-dma-buf sync command can address."""
ENABLE_INTERRUPT = struct.pack("=I", 1)


class UioDevice(Board):
    """Open ``/dev/<uio>`` and ``/dev/<buffer>``, and stop what a crashed owner may have left running.

    ``uio``: a node's file or name, the one that is called edge-moe when None; ``buffer``: the only one when None.
    ``clock_hz`` is the accelerator's clock, which turns cycle limits into seconds; the device tree's when None.
    ``dev`` and ``sysfs`` are roots, so that tests can lay out stand-ins. Raises DeviceNotFound when a file is missing
    or may not be opened, or the clock is not known, DeviceBusy with the owner's process number when somebody else holds
    the device, DeviceLost when what is there is no accelerator or cannot be stopped.
    """

    def __init__(self, uio: str | None = None, buffer: str | None = None, *, clock_hz: float | None = None,
                 dev: str = "/dev", sysfs: str = "/sys"):
        uio, buffer = find_uio(Path(sysfs), uio), find_buffer(Path(sysfs), buffer)
        self.name, (self.clock_hz, self.clock_from) = f"uio:{uio}", _clock(Path(sysfs), uio, clock_hz)
        self._class, self._buffer = Path(sysfs) / "class", Path(sysfs) / "class" / "u-dma-buf" / buffer
        self._pid, self._next, self._interrupts = os.getpid(), 0, True
        self._fd = self._dma_fd = -1
        self._words = self._bytes = None
        try:
            self._fd = _open(Path(dev) / uio, OVERLAY)
            self._own()
            size = _number(self._class / "uio" / uio / "maps" / "map0" / "size", 16)
            if size < MAP_BYTES:
                raise DeviceLost(f"{uio} maps {size} bytes of registers; the accelerator has {MAP_BYTES}.")
            self._words = _map(self._fd, size, uio).view("<u4")
            self._dma_fd = _open(Path(dev) / buffer, MODULE)
            self._base = _number(self._buffer / "phys_addr", 16)
            self._size = _number(self._buffer / "size", 10)
            self._bytes = _map(self._dma_fd, self._size, buffer)
            self._recover()
        except BaseException:
            self._release()
            raise

    def read32(self, offset: int) -> int:
        return int(self._mapped(self._words)[offset // 4])

    def write32(self, offset: int, value: int) -> None:
        self._mapped(self._words)[offset // 4] = value

    def allocate(self, size: int) -> Buffer:
        memory = self._mapped(self._bytes)
        begin, end = self._next, self._next + ceil_div(size, PAGE) * PAGE
        limit = min(self._size, SYNC_LIMIT)
        if end > limit:
            raise OutOfMemory(f"{size} bytes do not fit: {limit - begin} of the {self._size} bytes of "
                              f"{self._buffer.name} are free. Load u-dma-buf with a larger size, and boot with a "
                              f"cma= to match.")
        self._next = end
        return Buffer(self._base + begin, memory[begin:begin + size],
                      lambda: self._sync("sync_for_device", begin, size),
                      lambda: self._sync("sync_for_cpu", begin, size))

    def free(self) -> None:
        self._next = 0

    @property
    def condition(self) -> str:
        """Clock, and the hottest thermometer in degrees Celsius where there is one."""
        found = []
        for path in (*self._class.glob("hwmon/hwmon*/temp*_input"), *self._class.glob("thermal/thermal_zone*/temp")):
            with suppress(OSError, ValueError):
                found.append(int(path.read_text()) / 1000)
        return f"clock {self.clock_hz / 1e6:g} MHz" + (f", {max(found):.0f} degrees C" if found else "")

    def close(self) -> None:
        """Stop what runs, then release the device to another owner. A no-op the second time, or in a forked child."""
        if self._words is not None and self._pid == os.getpid():
            with suppress(AccelError):
                Registers(self).abort()
        self._release()

    # -- one owner

    def _own(self) -> None:
        try:  # belongs to this opening of the file: neither a second one in this process nor a close of it breaks it
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _locked_by(self._fd)
            owner = "another process" if pid is None else f"process {pid}"
            raise DeviceBusy(f"The device {self.name} belongs to {owner}. Wait for it or stop it.") from None

    def _mapped(self, array: np.ndarray | None) -> np.ndarray:
        if array is None:
            raise DeviceLost(f"The device {self.name} was closed.")
        if self._pid != os.getpid():
            raise DeviceBusy(f"The device {self.name} belongs to process {self._pid}, which forked this one: open it "
                             f"again there or here, not in both.")
        return array

    def _release(self) -> None:
        self._words = self._bytes = None  # the maps go when the last view of them does
        for fd in (self._fd, self._dma_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._dma_fd = -1

    # -- interrupt and caches

    def _interrupt_fd(self) -> int:
        """What is written to enable the interrupt and read when it came: the UIO itself, or a test's stand-in."""
        return self._fd

    def _sleep(self, seconds: float) -> None:
        """Until the interrupt comes, at most ``seconds``. UIO masks it when it comes, so it is enabled each time."""
        if not self._interrupts:
            super()._sleep(seconds)
            return
        fd = self._interrupt_fd()
        try:
            os.write(fd, ENABLE_INTERRUPT)
            if select.select([fd], [], [], seconds)[0]:
                os.read(fd, len(ENABLE_INTERRUPT))
        except OSError:  # the node has none: then polling must do
            self._interrupts = False

    def _sync(self, which: str, begin: int, size: int) -> None:
        # One write tells all: offset [63:32], size [31:4] (in bytes, a multiple of 16), direction [3:2] (0: both), do
        # it [0].
        self._mapped(self._bytes)
        command = begin << 32 | ceil_div(size, 16) * 16 | 1
        try:
            (self._buffer / which).write_text(f"0x{command:016x}")
        except OSError as error:
            raise DeviceLost(f"{self._buffer / which} cannot be written: {error.strerror}.") from None


def _clock(sysfs: Path, uio: str, given: float | None) -> tuple[float, str]:
    """The clock in Hz, and its source. Raises DeviceNotFound where there is none: a wrong one would end waits early."""
    if given is not None:
        return given, "given"
    if (told := clock_of(sysfs, uio)) is None:
        raise DeviceNotFound(f"The device tree does not tell the clock of {uio} (clock-frequency, a fixed clock or "
                             f"assigned-clock-rates): give it, as --clock MHZ or clock_hz=HZ.")
    return told


def _open(path: Path, hint: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DeviceNotFound(f"There is no {path}. {hint}") from None
    except PermissionError:
        raise DeviceNotFound(f"{path} may not be opened. Run as root, or give this user access by a udev rule."
                             ) from None
    except OSError as error:
        raise DeviceNotFound(f"{path} cannot be opened: {error.strerror}. {hint}") from None


def _map(fd: int, size: int, name: str) -> np.ndarray:
    try:
        return np.frombuffer(mmap.mmap(fd, size), np.uint8)
    except (OSError, ValueError) as error:
        raise DeviceLost(f"{size} bytes of {name} cannot be mapped: {error}.") from None


def _number(path: Path, base: int) -> int:
    try:
        value = int(path.read_text(), base)
    except (OSError, ValueError) as error:
        raise DeviceNotFound(f"{path} does not tell a number: {error}.") from None
    if value <= 0:
        raise DeviceNotFound(f"{path} must tell a positive number, not {value}.")
    return value


def _locked_by(fd: int) -> int | None:
    """The process that holds the lock on this file, where the kernel tells."""
    status = os.fstat(fd)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # number, kind, ADVISORY, READ or WRITE, process, place, begin, end
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == place:
                return int(words[4])
    return None
