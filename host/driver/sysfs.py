# SPDX-License-Identifier: Apache-2.0
"""What Linux tells of a board below ``/sys``: UIO nodes by name, u-dma-buf buffers, the clock in the device tree.

On stock kernels of Zynq UltraScale+ ``uio0`` to ``uio3`` are the AXI performance monitors; so a node is taken by what
it is called, never by its number.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host.driver.errors import DeviceNotFound

NAME = "edge-moe"
"""What the accelerator's device-tree node is called, or its buffer, or one of its ``compatible`` texts: in any case,
with - or _, and with more after it."""
OVERLAY = ('Is the device-tree overlay loaded (a node edge-moe@..., compatible = "generic-uio"), and uio_pdrv_genirq '
           "with of_id=generic-uio?")
MODULE = "Is the u-dma-buf module loaded with a size?"


@dataclass(frozen=True)
class Node:
    """A UIO node: ``file`` below /dev, the ``name`` of its device-tree node, and its ``compatible`` texts."""

    file: str
    name: str
    compatible: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it is an accelerator by what it is called."""
        return any(is_ours(text) for text in (self.name, *self.compatible))

    def __str__(self) -> str:
        return f"{self.file} ({self.name or 'without a name'})"


def uio_nodes(sysfs: Path) -> list[Node]:
    """All UIO nodes, by number."""
    return [Node(path.name, text(path / "name"), tuple(text(path / "device/of_node/compatible").split("\0")))
            for path in _by_number(sysfs / "class" / "uio")]


def buffers(sysfs: Path) -> list[str]:
    """All u-dma-buf buffers, by number."""
    return [path.name for path in _by_number(sysfs / "class" / "u-dma-buf")]


def find_uio(sysfs: Path, wanted: str | None = None) -> str:
    """The UIO node called ``wanted``, as a file or by name; the accelerator's when None. Raises DeviceNotFound, with
    all that there are, when there is none or more than one."""
    nodes = uio_nodes(sysfs)
    there = f"there are {', '.join(map(str, nodes))}" if nodes else "there are no UIO nodes at all"
    found = [node for node in nodes if (node.ours if wanted is None else wanted in (node.file, node.name))]
    if len(found) == 1:
        return found[0].file
    called = NAME if wanted is None else repr(wanted)
    if not found:
        raise DeviceNotFound(f"No UIO node is called {called}; {there}. {OVERLAY} Else name one, as in uio:NAME. "
                             f"Without a board there is --device golden.")
    raise DeviceNotFound(f"{len(found)} UIO nodes are called {called}: {', '.join(map(str, found))}. Name one: "
                         f"--device uio:{found[0].file}.")


def find_buffer(sysfs: Path, wanted: str | None = None) -> str:
    """The buffer called ``wanted``; when None the only one, or the only one that is called like the accelerator. Raises
    DeviceNotFound, with all that there are."""
    there = buffers(sysfs)
    found = [name for name in there if wanted in (None, name)]
    if wanted is None and len(found) > 1:
        found = [name for name in found if is_ours(name)]
    if len(found) == 1:
        return found[0]
    listed = f"there are {', '.join(there)}" if there else "there are none at all"
    if wanted is None and there:
        raise DeviceNotFound(f"Which u-dma-buf buffer is the accelerator's? {listed.capitalize()}. Name one: --buffer "
                             f"{there[0]}.")
    raise DeviceNotFound(f"There is no u-dma-buf buffer{'' if wanted is None else f' called {wanted!r}'}; {listed}. "
                         f"{MODULE}")


def clock_of(sysfs: Path, uio: str) -> tuple[float, str] | None:
    """Clock of a node in Hz and the property that tells it: ``clock-frequency``, the fixed clock that ``clocks`` names,
    or ``assigned-clock-rates``. None where the device tree does not tell.
    """
    node = sysfs / "class" / "uio" / uio / "device" / "of_node"
    if hz := _cell(node / "clock-frequency"):
        return float(hz), "clock-frequency in the device tree"
    if (phandle := _cell(node / "clocks")) and (hz := _fixed_clock(sysfs / "firmware/devicetree/base", phandle)):
        return float(hz), "fixed clock in the device tree"
    if hz := _cell(node / "assigned-clock-rates"):
        return float(hz), "assigned-clock-rates in the device tree"
    return None


def _fixed_clock(tree: Path, phandle: int) -> int:
    for path in tree.rglob("phandle"):
        if _cell(path) == phandle:
            return _cell(path.with_name("clock-frequency"))
    return 0


def _cell(path: Path) -> int:
    """The first cell of a property, 32 bits, big endian; 0 where there is none."""
    try:
        return struct.unpack_from(">I", path.read_bytes())[0]
    except (OSError, struct.error):
        return 0


def text(path: Path) -> str:
    """What a small file of the kernel holds; nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _by_number(folder: Path) -> Iterable[Path]:
    def key(path: Path) -> tuple[str, int]:
        number = re.search(r"\d+$", path.name)
        return path.name.rstrip("0123456789"), int(number[0]) if number else -1

    return sorted(folder.iterdir(), key=key) if folder.is_dir() else []


def is_ours(text: str) -> bool:
    """Whether something of this name is an accelerator."""
    return text.lower().replace("_", "-").startswith(NAME)
