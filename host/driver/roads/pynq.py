# SPDX-License-Identifier: Apache-2.0
"""``open_device("pynq:FILE.bit")``: a board with PYNQ. Overlay, registers and buffers are PYNQ's (read: 4.0.0).

PYNQ is no dependency: it is part of a board's image. It needs FILE.hwh next to FILE.bit, and root.
"""

import asyncio
import concurrent.futures
import importlib
import threading
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np

from golden.spec.machine import PAGE
from golden.spec.regs import MAP_BYTES
from host.driver.device import Buffer
from host.driver.errors import DeviceLost, DeviceNotFound, OutOfMemory
from host.driver.roads.board import Board, Lock
from host.driver.sysfs import is_ours


class PynqDevice(Board):
    """Load ``bitstream`` and open the accelerator in it: ``ip`` as the block design calls it, else the only one that
    is called edge-moe. ``clock_hz``: its clock; PL clock 0 of the processor when None. ``download``: False leaves the
    logic as it is. Raises DeviceNotFound, DeviceBusy, DeviceLost when what is there is no accelerator.
    """

    def __init__(self, bitstream: str | None = None, *, ip: str | None = None, clock_hz: float | None = None,
                 download: bool = True):
        if bitstream is None:
            raise DeviceNotFound("A board with PYNQ is named by its bitstream, as in --device pynq:edge_moe.bit.")
        self.name, file = f"pynq:{Path(bitstream).name}", Path(bitstream)
        self._lock = Lock(file, self.name)
        self._interrupt: _Interrupt | None = None
        try:
            self._pynq = _package()
            try:
                overlay = self._pynq.Overlay(str(file), download=download)
            except Exception as error:  # whatever it is, it is PYNQ's
                raise DeviceNotFound(f"PYNQ cannot load {file}: {type(error).__name__}: {error}. {file.stem}.hwh must "
                                     f"lie next to it.") from None
            name = _find(overlay.ip_dict, ip, file)
            about = overlay.ip_dict[name]
            if about["addr_range"] < MAP_BYTES:
                raise DeviceLost(f"{name} in {file} has {about['addr_range']} bytes of registers; the accelerator has "
                                 f"{MAP_BYTES}.")
            self._overlay = overlay  # its metadata go with it
            self._mmio = self._pynq.MMIO(about["phys_addr"], about["addr_range"])
            self.clock_hz, self.clock_from = _clock(self._pynq, clock_hz)
            pins = [pin for pin in overlay.interrupt_pins if pin.rpartition("/")[0] == name]
            self._recover()
            self._interrupt = _Interrupt(self._pynq, pins[0]) if pins else None
        except BaseException:
            self._lock.release()
            raise

    def read32(self, offset: int) -> int:
        self._check_open()
        return int(self._mmio.read(offset))

    def write32(self, offset: int, value: int) -> None:
        self._check_open()
        self._mmio.write(offset, int(value))  # PYNQ takes int itself and nothing like it

    def allocate(self, size: int) -> Buffer:
        self._check_open()
        try:
            whole = self._pynq.allocate((size + PAGE,), np.uint8)
        except (RuntimeError, MemoryError, OSError) as error:
            raise OutOfMemory(f"{size} bytes do not fit: PYNQ says {error}. Boot with a larger cma=.") from None
        skipped = -whole.device_address % PAGE
        view = np.frombuffer(whole, np.uint8)[skipped:skipped + size]
        return Buffer(whole.device_address + skipped, view, whole.sync_to_device, whole.sync_from_device)

    def free(self) -> None:
        """Nothing to do: PYNQ takes memory back with the last view of it, and not while somebody may read it."""

    def _sleep(self, seconds: float) -> None:
        if self._interrupt is None or not self._interrupt.sleep(seconds):
            super()._sleep(seconds)

    def _release(self) -> None:
        if self._interrupt is not None:
            self._interrupt.close()
        super()._release()
        self._lock.release()


class _Interrupt:
    """PYNQ's interrupt is a coroutine: it runs in a loop and thread of its own, so that notebooks, whose thread has a
    loop already, can wait as well."""

    def __init__(self, package: ModuleType, pin: str):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edge-moe-interrupt", daemon=True)
        self._thread.start()
        self._waits: concurrent.futures.Future | None = None
        try:
            self._pin = asyncio.run_coroutine_threadsafe(self._made(package, pin), self._loop).result(10)
        except Exception:  # there is no UIO node for it: then polling must do
            self._pin = None

    async def _made(self, package: ModuleType, pin: str):
        return package.Interrupt(pin)

    def sleep(self, seconds: float) -> bool:
        """Until the interrupt comes, at most ``seconds``; False when there is none."""
        if self._pin is None:
            return False
        if self._waits is None:  # one that did not come in time goes on being awaited
            self._waits = asyncio.run_coroutine_threadsafe(self._pin.wait(), self._loop)
        if concurrent.futures.wait([self._waits], seconds).done:
            waits, self._waits = self._waits, None
            if waits.exception() is not None:
                self._pin = None
        return True

    def close(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        with suppress(RuntimeError):
            self._loop.close()


def _package() -> ModuleType:
    try:
        return importlib.import_module("pynq")
    except ImportError as error:
        raise DeviceNotFound(f"PYNQ is not installed for this Python ({error}): it comes with the board's image; use "
                             f"the Python of its notebooks, or --device uio.") from None


def _find(there: dict, wanted: str | None, file: Path) -> str:
    """The accelerator among the blocks of an overlay. Raises DeviceNotFound."""
    found = [name for name, about in there.items()
             if (name == wanted if wanted is not None else any(map(is_ours, _words(name, about))))]
    if len(found) == 1:
        return found[0]
    called = "edge-moe" if wanted is None else repr(wanted)
    raise DeviceNotFound(f"{len(found) or 'No'} block{'s' * (len(found) != 1)} in {file} called {called}; there are "
                         f"{', '.join(there) or 'none'}. Name one: ip=NAME.")


def _words(name: str, about: dict) -> list[str]:
    """What a block is called: its name, and the parts of vendor:library:name:version."""
    return [name.rpartition("/")[2], *str(about.get("type", "")).split(":")]


def _clock(package: ModuleType, given: float | None) -> tuple[float, str]:
    if given is not None:
        return given, "given"
    return package.Clocks.fclk0_mhz * 1e6, "PL clock 0 of the processor, by PYNQ"
