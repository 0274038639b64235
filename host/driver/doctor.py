# SPDX-License-Identifier: Apache-2.0
"""What a board still lacks before a program can run: each line is ok or says what to do. Opens and changes nothing.

``python -m host.driver.doctor`` needs numpy only; so it runs on the board itself.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.spec.program.image import Image
from golden.spec.regs import MAP_BYTES
from host.driver.errors import AccelError
from host.driver.layout import memory_need
from host.driver.sysfs import clock_of, find_buffer, find_uio, text, uio_nodes

OLDEST_PYTHON, OLDEST_NUMPY = (3, 10), (1, 26)
RULE = "Run as root, or give this user access by a udev rule: {rule}, MODE=\"0660\", GROUP=\"users\"."


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: ``said`` is what was found when it is ``ok``, else what to do."""

    name: str
    ok: bool
    said: str


class Lacking(Exception):
    """Something is missing; the message says what to do."""


@dataclass(frozen=True)
class Place:
    """Where to look: roots of the file system, and node, buffer and clock where they were named."""

    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    uio: str | None = None
    buffer: str | None = None
    clock_hz: float | None = None


def examine(place: Place | None = None, image: Image | None = None) -> list[Line]:
    """All lines for the board at ``place``, and for what ``image`` needs where one is given."""
    place, lines = place or Place(), []
    for name, look in _looks(place, image):
        try:
            lines.append(Line(name, True, look()))
        except (Lacking, AccelError) as error:
            lines.append(Line(name, False, str(error)))
    return lines


def _looks(place: Place, image: Image | None) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "Python", _python
    yield "numpy", _numpy
    yield "bitstream", lambda: _bitstream(place)
    yield "UIO node", lambda: _node(place)
    yield "registers", lambda: _registers(place)
    yield "clock", lambda: _clock(place)
    yield "u-dma-buf", lambda: _buffer(place, image)
    yield "CMA", lambda: _cma(place, image)


def _python() -> str:
    if sys.version_info < OLDEST_PYTHON:
        raise Lacking(f"Python {_dotted(sys.version_info[:2])} is here; install {_dotted(OLDEST_PYTHON)} or later.")
    return _dotted(sys.version_info[:3])


def _numpy() -> str:
    numbers = tuple(int(number) for number in re.findall(r"\d+", np.__version__)[:2])
    if numbers < OLDEST_NUMPY:
        raise Lacking(f"numpy {np.__version__} is here; install {_dotted(OLDEST_NUMPY)} or later.")
    return np.__version__


def _bitstream(place: Place) -> str:
    states = {path.parent.name: text(path) for path in sorted(place.sysfs.glob("class/fpga_manager/*/state"))}
    if not states:
        return "this kernel does not tell (no fpga_manager)"
    if "operating" not in states.values():
        raise Lacking(f"{', '.join(f'{name} is in state {state!r}' for name, state in states.items())}: load the "
                      f"bitstream, for example with fpgautil -b FILE.bit.bin -o FILE.dtbo.")
    return "loaded"


def _node(place: Place) -> str:
    found = find_uio(place.sysfs, place.uio)
    _permission(place.dev / found, 'SUBSYSTEM=="uio"', "Is the kernel's devtmpfs mounted?")
    return next(str(node) for node in uio_nodes(place.sysfs) if node.file == found)


def _found(place: Place) -> str:
    """The node's file, for lines that come after the node's own."""
    try:
        return find_uio(place.sysfs, place.uio)
    except AccelError:
        raise Lacking("Nothing to look at without the UIO node: see its line.") from None


def _registers(place: Place) -> str:
    found = _found(place)
    path = place.sysfs / "class/uio" / found / "maps/map0/size"
    size = _number(path, 16)
    if size < MAP_BYTES:
        raise Lacking(f"{path} tells {size} bytes; the accelerator has {MAP_BYTES}: is reg of the device-tree node "
                      f"right?")
    return f"{size} bytes at 0x{_number(path.with_name('addr'), 16):x}"


def _clock(place: Place) -> str:
    if place.clock_hz is not None:
        return f"{place.clock_hz / 1e6:g} MHz (given)"
    found = _found(place)
    if (told := clock_of(place.sysfs, found)) is None:
        raise Lacking(f"The device tree does not tell the clock of {found}: give its node clock-frequency = <HZ>, or "
                      f"run with --clock MHZ.")
    return f"{told[0] / 1e6:g} MHz ({told[1]})"


def _buffer(place: Place, image: Image | None) -> str:
    need = 0 if image is None else sum(memory_need(image))
    try:
        name = find_buffer(place.sysfs, place.buffer)
    except AccelError as error:
        raise Lacking(f"{error} The program needs {_mib(need)}, at least udmabuf0={need}." if need else str(error)
                      ) from None
    _permission(place.dev / name, 'SUBSYSTEM=="u-dma-buf"', "Load the u-dma-buf module again.")
    folder = place.sysfs / "class/u-dma-buf" / name
    for file in ("sync_for_cpu", "sync_for_device"):
        _permission(folder / file, 'SUBSYSTEM=="u-dma-buf"', "This u-dma-buf is too old: take version 1.3 or later.")
    size = _number(folder / "size", 10)
    if size <= 0:
        raise Lacking(f"{name} is empty: load u-dma-buf with a size, as insmod u-dma-buf.ko {name}={64 << 20}.")
    if image is not None and size < need:
        raise Lacking(f"{name} has {_mib(size)}; the program of {image.model.name!r} needs {_mib(need)}: load "
                      f"u-dma-buf with {name}={need} or more.")
    return f"{name}, {_mib(size)}"


def _cma(place: Place, image: Image | None) -> str:
    facts = {name: int(value) << 10 for name, value in
             re.findall(r"^(Cma\w+): +(\d+) kB$", text(place.proc / "meminfo"), re.MULTILINE)}
    need = 0 if image is None else sum(memory_need(image))
    if "CmaTotal" not in facts:
        return "this kernel does not tell" + (f"; {_mib(need)} needed" if need else "")
    total, free = facts["CmaTotal"], facts.get("CmaFree", 0)
    taken = 0
    with suppress(AccelError, Lacking):
        taken = _number(place.sysfs / "class/u-dma-buf" / find_buffer(place.sysfs, place.buffer) / "size", 10)
    if need > max(taken, total):
        raise Lacking(f"{_mib(total)} in all; the program needs {_mib(need)}: boot with cma={_boot(need)}M on the "
                      f"kernel's command line.")
    if need > max(taken, free):
        raise Lacking(f"{_mib(free)} of {_mib(total)} are free; the program needs {_mib(need)}: end what holds the "
                      f"rest, or boot with cma={_boot(need + total - free)}M.")
    return f"{_mib(free)} of {_mib(total)} free" + (f", {_mib(need)} needed" if need else "")


# -- small parts

def _permission(path: Path, rule: str, missing: str) -> None:
    if not path.exists():
        raise Lacking(f"There is no {path}. {missing}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise Lacking(f"{path} may not be read and written. {RULE.format(rule=rule)}")


def _number(path: Path, base: int) -> int:
    try:
        return int(path.read_text(), base)
    except (OSError, ValueError):
        raise Lacking(f"{path} does not tell a number: is this the kernel's sysfs?") from None


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _boot(size: int) -> int:
    """MiB to ask for at boot: half as much again, in steps of 16."""
    return -(-size * 3 // (2 << 24)) * 16


def _dotted(numbers: tuple) -> str:
    return ".".join(map(str, numbers))


def main(arguments: list[str] | None = None) -> int:
    """Print the lines for this machine, and for a program image where one is named; status 1 when something lacks."""
    words = sys.argv[1:] if arguments is None else arguments
    lines = examine(image=Image.load(words[0]) if words else None)
    for line in lines:
        print(f"{'ok' if line.ok else 'TO DO':6}{line.name}: {line.said}")
    return 0 if all(line.ok for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
