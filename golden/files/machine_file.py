# SPDX-License-Identifier: Apache-2.0
"""Machine by name or from a file: a preset, or a machine that a JSON file describes."""

import argparse
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import ConfigError, require

MOST_BYTES = 1 << 24
"""Of a file that describes machines; an exploration writes some hundred of them."""
_FIELDS = {field.name: field for field in fields(MachineConfig)}
_KINDS = {int: "an integer", str: "a text", bool: "true or false"}
_REQUIRED = [name for name, field in _FIELDS.items() if field.default is MISSING]


def machine_of(machine: MachineConfig | str | Path) -> MachineConfig:
    """``machine`` itself, the preset of that name, or the machine in a JSON file.

    A file holds an object with the fields of :class:`MachineConfig`, or what ``edge-moe explore --json`` prints; of
    several machines ``FILE.json:NAME`` takes one. Raises ConfigError with what was wanted and what came.
    """
    if isinstance(machine, MachineConfig):
        return machine
    text = str(machine)
    if text in MACHINES:
        return MACHINES[text]
    name, _, chosen = text.partition(".json:")
    path = Path(f"{name}.json" if chosen else text)
    require(path.suffix == ".json", f"There is no machine {text!r}; there are {', '.join(MACHINES)}, or give a JSON "
            f"file that describes one.")
    return _chosen(path, _machines(path), chosen)


def _machines(path: Path) -> list[dict]:
    """What a file says of machines, not yet checked."""
    try:
        require(path.is_file(), f"There is no file {path} that could describe a machine.")
        require(path.stat().st_size <= MOST_BYTES, f"{path} has {path.stat().st_size} bytes; a file that describes "
                f"machines has at most {MOST_BYTES}.")
        found = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not JSON: {error}.") from None
    entries = found.get("front", [found]) if isinstance(found, dict) else found
    described = isinstance(entries, list) and bool(entries) and all(isinstance(entry, dict) for entry in entries)
    require(described, f"{path} does not describe a machine; wanted is an object with the fields {', '.join(_FIELDS)}.")
    return [entry.get("machine", entry) for entry in entries]


def _chosen(path: Path, machines: list[dict], name: str) -> MachineConfig:
    names = [str(machine.get("name")) if isinstance(machine, dict) else "?" for machine in machines]
    if not name:
        require(len(machines) == 1, f"{path} describes {len(machines)} machines; choose one, as {path}:{names[0]}. "
                f"There are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}.")
        return _config(path, machines[0])
    require(name in names, f"{path} has no machine {name!r}; there are {', '.join(names[:8])}"
            f"{', ...' if len(names) > 8 else ''}.")
    return _config(path, machines[names.index(name)])


def _config(path: Path, values: Any) -> MachineConfig:
    require(isinstance(values, dict), f"{path}: a machine is an object with fields, not {values!r}.")
    if unknown := set(values) - set(_FIELDS):
        raise ConfigError(f"{path} gives a machine the field {sorted(unknown)[0]!r}; there are {', '.join(_FIELDS)}.")
    if missing := [name for name in _REQUIRED if name not in values]:
        raise ConfigError(f"{path} does not say {', '.join(missing)} of the machine.")
    for name, value in values.items():
        kind = _FIELDS[name].type
        require(type(value) is kind, f"{path}: {name} must be {_KINDS[kind]}, not {value!r}.")
    machine = MachineConfig(**values)
    require(machine == MACHINES.get(machine.name, machine), f"{path} calls its machine {machine.name!r}, as a preset "
            f"is called that is another one; give it a name of its own.")
    return machine


def add_machine_option(parser: argparse.ArgumentParser, option: str = "--machine", default: str = "zcu102") -> None:
    """Give a command ``option``, whose value is a :class:`MachineConfig`."""
    parser.add_argument(option, default=default, type=_machine_argument, metavar="MACHINE",
                        help=f"{', '.join(MACHINES)}, or a JSON file that describes a machine; {default} by default")


def _machine_argument(text: str) -> MachineConfig:
    try:
        return machine_of(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
