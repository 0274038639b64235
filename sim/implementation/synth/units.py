# SPDX-License-Identifier: Apache-2.0
"""The units that can be synthesised alone, by name, and how each is made for a machine configuration."""

import importlib
import inspect
from functools import partial
from pathlib import Path

from amaranth.lib import wiring

from golden.spec.machine import MachineConfig
from host.report.synthesis import MACHINE
from hw.top import Accelerator

PACKAGES = ("arith", "array", "cluster", "vector", "moe", "memory", "dma", "ctrl")
TOP = MACHINE


def component(name: str, cfg: MachineConfig):
    """The unit ``name`` for ``cfg``. Raises ``ValueError`` naming the units when there is none of that name."""
    known = units()
    if name not in known:
        raise ValueError(f"There is no unit {name!r}; there are {', '.join(known)}.")
    return known[name](cfg)


def units() -> dict:
    """Every unit that a machine configuration, or nothing, is enough to make: name -> function of the configuration.

    A class is found under its file's name when it is the file's first, otherwise as ``file.Class``.
    """
    found = {}
    for package in PACKAGES:
        for path in sorted((_hw() / package).rglob("*.py")):
            if path.stem == "__init__":
                continue
            inside = path.relative_to(_hw()).with_suffix("").parts
            module = importlib.import_module(".".join(("hw", *inside)))
            classes = [value for value in vars(module).values()
                       if inspect.isclass(value) and issubclass(value, wiring.Component)
                       and value.__module__ == module.__name__ and _needs(value) in ([], ["cfg"])]
            for n, kind in enumerate(classes):
                found[f"{path.stem}.{kind.__name__}" if n else path.stem] = partial(_make, kind)
    return found | {TOP: Accelerator}


def _hw() -> Path:
    return Path(importlib.import_module("hw").__file__).parent


def _needs(kind) -> list[str]:
    return [p.name for p in list(inspect.signature(kind.__init__).parameters.values())[1:]
            if p.default is inspect.Parameter.empty]


def _make(kind, cfg: MachineConfig):
    return kind(cfg) if "cfg" in inspect.signature(kind.__init__).parameters else kind()
