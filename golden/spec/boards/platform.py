# SPDX-License-Identifier: Apache-2.0
"""What a board offers around the FPGA's fabric: memory ports, register port, vendor's names; for platform kits."""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

FAMILIES = Path(__file__).parent / "families"


class BoardError(ValueError):
    """A board file with a missing or an unknown field; the message names file and field."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of devices with a processing system next to the fabric.

    ``gp``: memory ports by name, with the number that the vendor's tool and Linux give them; they cut bursts to
    ``burst_beats``. ``order``: which of them a machine takes first; ``shared``: groups whose ports share a
    way to the DRAM. ``control_port``: where the processors reach registers, from address ``control_base``.
    ``interrupt_spi``: the fabric's first interrupt, as a shared peripheral interrupt. ``clock_id``, ``reset_id``: the
    fabric's first clock and reset, in Linux's device tree. ``low_bytes``: DRAM beyond these has addresses of its own.
    """

    burst_beats: int
    control_port: str
    control_base: int
    interrupt_spi: int
    clock_id: int
    reset_id: int
    low_bytes: int
    afi_width: int
    afi_control: list[int]
    order: list[str]
    shared: list[list[str]]
    gp: dict[str, int]
    sources: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ZynqPlatform:
    """A board whose processors run Linux next to the fabric. ``board_part``: the vendor's name of the board files,
    without a version. ``machine``: preset that a kit takes when none is named. ``dram_bytes``: of the processing
    system. ``loader``: what loads a bitstream under Linux, ``dfx-mgr`` or ``fpgautil``. ``notes``: what else a user
    should know."""

    family: str
    board_part: str
    machine: str
    dram_bytes: int
    loader: str
    notes: list[str]
    sources: dict[str, str]

    @property
    def facts(self) -> Family:
        """What the family's boards have in common."""
        return _family(self.family)


@dataclass(frozen=True, kw_only=True)
class AlveoPlatform:
    """A card in a host, reached through the vendor's shell. ``shell``: its platform for the vendor's linker.
    ``memory``: the banks that a machine's ports reach, each of ``bank_bytes``. The other fields are
    those of :class:`ZynqPlatform`."""

    family: str
    shell: str
    machine: str
    memory: str
    bank_bytes: int
    notes: list[str]
    sources: dict[str, str]


KINDS: dict[str, type[ZynqPlatform] | type[AlveoPlatform]] = {"zynq_ultrascale": ZynqPlatform, "alveo": AlveoPlatform}
"""Record of a board's platform by its family."""
LOADERS = ("dfx-mgr", "fpgautil")


def read_platform(file: str, found: dict[str, Any]) -> ZynqPlatform | AlveoPlatform:
    """The table ``platform`` of a board file. Raises :class:`BoardError`."""
    family = found.get("family")
    if family not in KINDS:
        raise BoardError(f"{file} must give platform.family, one of {', '.join(KINDS)}, not {family!r}.")
    platform = _checked(KINDS[family], f"{file}, [platform],", found)
    if isinstance(platform, ZynqPlatform) and platform.loader not in LOADERS:
        raise BoardError(f"{file} must give platform.loader, one of {', '.join(LOADERS)}, not {platform.loader!r}.")
    return platform


@cache
def _family(name: str) -> Family:
    path = FAMILIES / f"{name}.toml"
    return _checked(Family, path.name, tomllib.loads(path.read_text()))


def _checked(kind: type[Any], file: str, found: dict[str, Any]) -> Any:
    """``found`` as a record."""
    check_fields(file, field_kinds(kind), found, unsourced={"family", "notes"})
    return kind(**found)


def field_kinds(kind: type[Any]) -> dict[str, Any]:
    """Type of each field of a record; of a list or a dictionary without that of its parts."""
    return {field.name: getattr(field.type, "__origin__", field.type) for field in fields(kind)}


def check_fields(file: str, kinds: dict[str, Any], found: dict[str, Any], *, unsourced: set[str],
                 sources: str = "its sources") -> None:
    """Raise :class:`BoardError` unless ``found`` has each field of ``kinds``, of its type, no other one, and names in
    ``sources`` where each comes from, but for those ``unsourced``."""
    for name, kind in kinds.items():
        if not isinstance(found.get(name), kind):
            raise BoardError(f"{file} must give {name}, not {found.get(name)!r}.")
    if strange := set(found) - set(kinds):
        raise BoardError(f"{file} gives {sorted(strange)[0]}, which is no field; there are {', '.join(kinds)}.")
    if uncited := set(kinds) - {"sources"} - unsourced - set(found["sources"]):
        raise BoardError(f"{file} does not say in {sources} where {sorted(uncited)[0]} comes from.")
