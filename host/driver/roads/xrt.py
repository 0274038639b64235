# SPDX-License-Identifier: Apache-2.0
"""``open_device("xrt:FILE.xclbin")``: an Alveo card with XRT, through its Python module pyxrt.

Registers are read and written by ``pyxrt.kernel.read_register``, which pyxrt has up to XRT 2.14: later ones do not
bind it (Xilinx/XRT issue 7863), nor ``xrt::ip``; they are refused with that sentence.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from golden.spec.machine import PAGE
from host.driver.device import Buffer
from host.driver.errors import DeviceBusy, DeviceNotFound, OutOfMemory
from host.driver.roads.board import Board, Lock
from host.driver.sysfs import is_ours


class XrtDevice(Board):
    """Load ``xclbin`` into card number ``card`` and open the accelerator in it: ``kernel`` by name, else the only one
    called edge-moe. ``memory``: index of the bank for buffers; the first that is in use when None. ``clock_hz``: its
    clock; the card's when None. Raises DeviceNotFound, DeviceBusy, DeviceLost when what is there is no accelerator.
    """

    def __init__(self, xclbin: str | None = None, *, card: int = 0, kernel: str | None = None,
                 memory: int | None = None, clock_hz: float | None = None):
        if xclbin is None:
            raise DeviceNotFound("A card with XRT is named by its bitstream, as in --device xrt:edge_moe.xclbin.")
        file = Path(xclbin)
        self.name = f"xrt:{file.name}"
        self._lock = Lock(file, self.name)
        try:
            self._xrt = _package()
            try:
                self._card = self._xrt.device(card)
                loaded = self._xrt.xclbin(str(file))
                uuid = self._card.load_xclbin(loaded)
            except Exception as error:  # pyxrt raises RuntimeError for all that goes wrong
                raise DeviceNotFound(f"XRT cannot load {file} into card {card}: {error}.") from None
            name = _find([each.get_name() for each in loaded.get_kernels()], kernel, file)
            try:
                self._kernel: Any = self._xrt.kernel(self._card, uuid, name, self._xrt.kernel.exclusive)
            except Exception as error:
                raise DeviceBusy(f"XRT does not lend {name} of card {card} to this process alone: {error}.") from None
            self._memory = _bank(loaded, memory, file)
            self.clock_hz, self.clock_from = _clock(self._xrt, self._card, clock_hz)
            self._recover()
        except BaseException:
            self._lock.release()
            raise

    def read32(self, offset: int) -> int:
        self._check_open()
        return int(self._kernel.read_register(offset))

    def write32(self, offset: int, value: int) -> None:
        self._check_open()
        self._kernel.write_register(offset, int(value))

    def allocate(self, size: int) -> Buffer:
        self._check_open()
        whole = size + PAGE
        try:
            buffer = self._xrt.bo(self._card, whole, self._xrt.bo.normal, self._memory)
        except Exception as error:
            raise OutOfMemory(f"{size} bytes do not fit into bank {self._memory} of {self.name}: {error}.") from None
        skipped, way = -buffer.address() % PAGE, self._xrt.xclBOSyncDirection
        view = np.frombuffer(buffer.map(), np.uint8)[skipped:skipped + size]
        return Buffer(buffer.address() + skipped, view,
                      lambda: buffer.sync(way.XCL_BO_SYNC_BO_TO_DEVICE, whole, 0),
                      lambda: buffer.sync(way.XCL_BO_SYNC_BO_FROM_DEVICE, whole, 0))

    def free(self) -> None:
        """Nothing to do: XRT takes memory back with the last view of it."""

    def _release(self) -> None:
        super()._release()
        self._kernel = self._card = None
        self._lock.release()


def _package() -> ModuleType:
    try:
        package = importlib.import_module("pyxrt")
    except ImportError as error:
        raise DeviceNotFound(f"pyxrt cannot be imported ({error}): source setup.sh of XRT, and use the Python for "
                             f"which its package was built.") from None
    if not hasattr(package.kernel, "read_register"):
        raise DeviceNotFound("This pyxrt cannot read registers: kernel.read_register left it with XRT 2.15, and "
                             "xrt::ip is not in it (Xilinx/XRT issue 7863). Take XRT 2.14 or earlier.")
    return package


def _find(there: list[str], wanted: str | None, file: Path) -> str:
    found = [name for name in there if (is_ours(name) if wanted is None else name == wanted)]
    if len(found) == 1:
        return found[0]
    called = "edge-moe" if wanted is None else repr(wanted)
    raise DeviceNotFound(f"{len(found) or 'No'} kernel{'s' * (len(found) != 1)} in {file} called {called}; there are "
                         f"{', '.join(there) or 'none'}. Name one: kernel=NAME.")


def _bank(loaded: Any, wanted: int | None, file: Path) -> int:
    used = [memory.get_index() for memory in loaded.get_mems() if memory.get_used()]
    if wanted is not None and wanted in used:
        return wanted
    if wanted is not None or not used:
        raise DeviceNotFound(f"{file} uses the memory banks {', '.join(map(str, used)) or 'none'}, not {wanted}.")
    return used[0]


def _clock(package: ModuleType, card: Any, given: float | None) -> tuple[float, str]:
    if given is not None:
        return given, "given"
    return float(card.get_info(package.xrt_info_device.max_clock_frequency_mhz)) * 1e6, "the card's, by XRT"
