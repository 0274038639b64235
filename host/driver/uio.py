# SPDX-License-Identifier: Apache-2.0
"""A board under Linux: registers through UIO, memory through u-dma-buf. Needs numpy only.

The device tree gives the accelerator a ``generic-uio`` node (its registers are map 0, its interrupt the UIO's) and
the ``u-dma-buf`` module a contiguous buffer. Files used, below ``dev`` and ``sysfs``:
``uioN``; ``class/uio/uioN/{name,maps/map0/size}``; ``udmabufN``; ``class/u-dma-buf/udmabufN/{phys_addr,size,
sync_mode,sync_for_cpu,sync_for_device}``.
"""

import fcntl
import mmap
import os
import select
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from golden.spec.regs import BY_NAME, MAP_BYTES, Ctrl
from host.driver.device import Buffer
from host.driver.errors import DeviceBusy, DeviceLost, DeviceNotFound, OutOfMemory

PAGE = 4096
POLL_SECONDS = 0.05
"""How often registers are looked at while waiting, so that a lost interrupt costs little."""


class UioDevice:
    """Open ``/dev/<uio>`` and ``/dev/<buffer>``.

    ``clock_hz`` is the accelerator's clock, which turns cycle limits into seconds. ``dev`` and ``sysfs`` are roots, so
    that tests can lay out stand-ins. Raises DeviceNotFound when a file is missing or may not be opened, DeviceBusy with
    the owner's process number when another process holds the device, DeviceLost when the register map is too small.
    """

    def __init__(self, uio: str = "uio0", buffer: str = "udmabuf0", *, clock_hz: float = 300e6, dev: str = "/dev",
                 sysfs: str = "/sys"):
        self.name, self.clock_hz = f"uio:{uio}", clock_hz
        self._sys = Path(sysfs) / "class" / "u-dma-buf" / buffer
        uio_sys = Path(sysfs) / "class" / "uio" / uio
        self._regs = self._memory = None
        self._fd = _open(Path(dev) / uio, "Is the device-tree overlay loaded (compatible = \"generic-uio\")?")
        self._dma_fd = -1
        try:
            self._own()
            size = _read_int(uio_sys / "maps" / "map0" / "size")
            if size < MAP_BYTES:
                raise DeviceLost(f"{uio} maps {size} bytes of registers; the accelerator has {MAP_BYTES}.")
            self._regs = mmap.mmap(self._fd, size)
            self._words = np.frombuffer(self._regs, dtype="<u4")
            self._dma_fd = _open(Path(dev) / buffer, "Is the u-dma-buf module loaded with a size?")
            self._base = _read_int(self._sys / "phys_addr")
            self._size = _read_int(self._sys / "size")
            self._memory = mmap.mmap(self._dma_fd, self._size)
            self._bytes = np.frombuffer(self._memory, dtype=np.uint8)
        except BaseException:
            self.close()
            raise
        self._next = 0
        if not self.read32(BY_NAME["CTRL"].offset) & Ctrl.IDLE:  # a crashed owner left a job behind
            self.write32(BY_NAME["CTRL"].offset, Ctrl.ABORT)
            self.wait(10_000_000, lambda done: None)

    def read32(self, offset: int) -> int:
        return int(self._words[offset // 4])

    def write32(self, offset: int, value: int) -> None:
        self._words[offset // 4] = value & 0xFFFF_FFFF

    def allocate(self, size: int) -> Buffer:
        begin, end = self._next, self._next + -(-size // PAGE) * PAGE
        if end > self._size:
            raise OutOfMemory(f"The program needs {size} more bytes; {self._size - begin} of the {self._size} bytes of "
                              f"{self._sys.name} are free. Load u-dma-buf with a larger size, and boot with cma= "
                              f"to match.")
        self._next = end
        return Buffer(self._base + begin, self._bytes[begin:begin + size],
                      lambda: self._sync("sync_for_device", begin, size),
                      lambda: self._sync("sync_for_cpu", begin, size))

    def free(self) -> None:
        self._next = 0

    def wait(self, limit: int, progress: Callable[[int], None]) -> bool:
        """Interrupt or polling, whichever sees the end first; re-enables the interrupt each time it waits."""
        seconds, waited = limit / self.clock_hz, 0.0
        while True:
            os.write(self._fd, struct.pack("<I", 1))
            step = min(POLL_SECONDS, max(0.0, seconds - waited))
            ready, _, _ = select.select([self._fd], [], [], step)
            if ready and len(os.read(self._fd, 4)) == 4:
                return True
            if self.read32(BY_NAME["CTRL"].offset) & Ctrl.IDLE:
                return True
            waited += step
            progress(int(waited * self.clock_hz))
            if waited >= seconds:
                return False

    def close(self) -> None:
        self._words = self._bytes = None
        for mapped in (self._regs, self._memory):
            if mapped is not None:
                try:
                    mapped.close()
                except BufferError:  # somebody still holds a view; the map goes when the view does
                    pass
        for fd in (self._fd, self._dma_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._dma_fd = -1

    def _own(self) -> None:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            pid = struct.unpack("hhqqi", fcntl.fcntl(self._fd, fcntl.F_GETLK, holder))[-1]
            raise DeviceBusy(f"The device {self.name} belongs to process {pid}. Wait for it or stop it.") from None

    def _sync(self, which: str, begin: int, size: int) -> None:
        # u-dma-buf takes it in one write: offset [63:32], size [31:4], direction 0 (both ways) [3:2], do it [0].
        (self._sys / which).write_text(f"0x{begin << 32 | (size + 15 & ~15) | 1:x}")


def _open(path: Path, hint: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DeviceNotFound(f"There is no {path}. {hint}") from None
    except PermissionError:
        raise DeviceNotFound(f"{path} may not be opened. Run as root, or give this user access by a udev rule."
                             ) from None


def _read_int(path: Path) -> int:
    try:
        return int(path.read_text().split()[0], 0)
    except (OSError, ValueError, IndexError) as error:
        raise DeviceNotFound(f"{path} does not tell a number: {error}.") from None
