# SPDX-License-Identifier: Apache-2.0
"""Device interface, the same for simulated and real devices, and opening a device by name."""

import importlib
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib.metadata import entry_points
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from golden.spec.machine import MachineConfig
from host.driver.errors import DeviceNotFound
from host.driver.notebook.tables import Shown

ENTRY_POINTS = "edge_moe.devices"
"""Group under which transports register: simulators and others are found by name, never imported by this package."""
OWN = {"uio": "host.driver.uio:UioDevice", "pynq": "host.driver.roads.pynq:PynqDevice",
       "xrt": "host.driver.roads.xrt:XrtDevice", "remote": "host.driver.remote.client:RemoteDevice"}
"""Transports of this package, found where nothing is installed as well."""


_Same = TypeVar("_Same")  # typing.Self came with Python 3.11; boards have 3.10


def silent(_: int) -> None:
    """Progress callback that does nothing."""


class DeviceMemory(Protocol):
    """Device memory: bus ``address`` and a writable uint8 view. Call before the bytes are accessed:
    ``sync_for_cpu`` before the host reads what the device wrote, ``sync_for_device`` before the device is started.
    """

    @property
    def address(self) -> int: ...

    @property
    def view(self) -> np.ndarray: ...

    @property
    def sync_for_device(self) -> Callable[[], None]: ...

    @property
    def sync_for_cpu(self) -> Callable[[], None]: ...


@dataclass(frozen=True)
class Buffer:
    """Device memory whose synchronization, where it needs any, is done by functions."""

    address: int
    view: np.ndarray
    sync_for_device: Callable[[], None] = lambda: None
    sync_for_cpu: Callable[[], None] = lambda: None


@runtime_checkable
class Device(Protocol):
    """A machine with registers, memory and an end-of-job signal. One owner at a time; ``with`` closes it.

    ``name`` is for people; ``clock_hz`` turns cycles into time. A device may also tell its ``condition``, a text with
    whatever it knows of clock and temperature; it is put into the text of time-outs; and ``clock_from``, who says that
    ``clock_hz`` is its clock. One that is far away may also have ``read_words(offsets) -> list`` and
    ``write_words(pairs)``, each of which does several accesses in their order. A simulated one may know its memory's
    timing (``dram``) and watch its units: it calls ``retired(unit, cycle)``, where that is set, at the end of each
    instruction.
    """

    name: str
    clock_hz: float

    def read32(self, offset: int) -> int:
        """A register's value, in one 32-bit access. Raises BusError when the slave answers with an error."""
        ...

    def write32(self, offset: int, value: int) -> None:
        """Set a register, in one 32-bit access. Raises BusError when the slave answers with an error."""
        ...

    def allocate(self, size: int) -> DeviceMemory:
        """``size`` bytes of device memory, 4096-aligned, contents undefined. Raises OutOfMemory."""
        ...

    def free(self) -> None:
        """Give back every buffer."""
        ...

    def wait(self, limit: int, progress: Callable[[int], None]) -> bool:
        """Wait until the machine interrupts or the ISR shows a cause, at most ``limit`` machine cycles; whether one of
        them did. ``progress`` hears how many cycles have passed, several times a second; what it raises ends the
        wait: it may read registers, and so detect that the job is gone."""
        ...

    def reset(self) -> None:
        """Bring the machine into the state after power-up, memory excepted: what was loaded must be loaded again
        (:meth:`host.driver.Session.reset` does both). Raises DeviceLost where that cannot be done from here."""

    def close(self) -> None:
        """Stop what runs and release the device to another owner. What is asked of it afterwards is refused."""

    def __enter__(self: _Same) -> _Same:
        ...

    def __exit__(self, *_: object) -> None:
        ...


class Handle(Shown):
    """What devices have in common as Python objects: ``with`` closes them, and they show their name."""

    name: str

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self: _Same) -> _Same:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', 'half made')}>"

    def _facts(self) -> list[tuple[str, object]]:
        clock = clock_text(self) if hasattr(self, "clock_hz") else None  # type: ignore[arg-type]  # a device then
        return [("clock", clock), ("closed", "yes" if getattr(self, "closed", False) else None)]


def clock_text(device: Device) -> str:
    """The clock that turns cycles of ``device`` into time, and its source: ``assumed 300 MHz`` where there is none."""
    megahertz = f"{device.clock_hz / 1e6:g} MHz"
    source = getattr(device, "clock_from", None)
    return f"assumed {megahertz}" if source is None else f"{megahertz} ({source})"


def condition_of(device: Device) -> str:
    """What the device tells of clock and temperature, at least its clock."""
    return getattr(device, "condition", f"clock {device.clock_hz / 1e6:g} MHz")


def open_device(name: str = "sim", *, machine: MachineConfig | str | None = None,
                progress: Callable[[str], None] | None = None, **options) -> Device:
    """Open the device called ``name``: ``"sim"`` (the Verilated machine), ``"golden"`` (the instruction-set simulator),
    ``"uio"`` (a board under Linux), ``"pynq"`` (one with PYNQ), ``"xrt"`` (a card with XRT), ``"remote"`` (the device
    of a server, `edge-moe serve`). ``options`` go to its constructor, first what follows a colon: the machine in
    ``"sim:nano"``, the UIO node in ``"uio:NAME"``, the bitstream in ``"pynq:FILE.bit"`` and ``"xrt:FILE.xclbin"``, the
    server in ``"remote:HOST:PORT"``. Raises :class:`DeviceNotFound`.

    ``machine``: what to simulate, where ``name`` says nothing of it; a board is the machine that it is.
    ``progress`` hears, in words, what a device does that takes minutes to open: the simulator, where it must be built.
    """
    found = _transports()
    name, colon, which = name.partition(":")
    if colon and not which:
        raise DeviceNotFound(f"The device {name + colon!r} ends in a colon; a name follows it, as in 'uio:NAME'.")
    if name not in found:
        raise DeviceNotFound(f"{no_device(name, found)} Run `make setup` if the project was not installed.")
    try:
        constructor = found[name]()
    except ImportError as error:
        raise DeviceNotFound(f"The device {name!r} needs a package that is not installed: {error}.") from error
    taken = inspect.signature(constructor).parameters
    for option, value in (("machine", None if which else machine), ("progress", progress)):
        if value is not None and option in taken:
            options[option] = value
    return constructor(*([which] if which else []), **options)


def device_names() -> list[str]:
    """Names that :func:`open_device` knows, without what follows a colon."""
    return sorted(_transports())


def no_device(name: str, known: Iterable[str]) -> str:
    """A sentence for a name that is none of ``known``, with the one that is meant where one is like it."""
    nearest = "".join(f"; the nearest one is {each}" for each in get_close_matches(name, sorted(known), 1))
    return f"There is no device {name!r}; installed are {', '.join(sorted(known))}{nearest}."


def _transports() -> dict[str, Callable[[], Callable[..., Device]]]:
    """What imports the constructor of each device, by its name."""
    others = {entry.name: entry.load for entry in entry_points(group=ENTRY_POINTS) if entry.name not in OWN}
    return others | {own: partial(_own, place) for own, place in OWN.items()}


def _own(place: str) -> Callable[..., Device]:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
