# SPDX-License-Identifier: Apache-2.0
"""The units that can be synthesised alone, by name, and how each is made for a machine configuration."""

import importlib
import inspect
from functools import partial
from pathlib import Path

from amaranth.lib import wiring

from golden.spec.machine import MachineConfig

ROOMS = ("core", "mem", "dma", "ctrl")
TOP = "top"
MACHINE = {
    # What hw/top.py wires together; parts of these are units too, but counted inside them.
    "array": "core.array.MatrixArray", "array_control": "core.array_control.ArrayControl",
    "epilogue": "core.epilogue.Epilogue", "softmax": "core.softmax.Softmax", "norm": "core.norm.LayerNorm",
    "gate": "core.gate.Gate", "operand": "mem.operand.OperandMemory", "residual": "mem.residual.ResidualMemory",
    "key_memory": "mem.key_memory.KeyMemory", "value_memory": "mem.value_memory.ValueMemory",
    "weight_ring": "mem.weight_ring.WeightRing", "weight_stream": "dma.weight_stream.WeightStream",
    "main_port": "dma.main_port.MainPort", "load_store": "dma.load_store.LoadStore",
    "front_end": "ctrl.front_end.FrontEnd", "sequencer": "ctrl.sequencer.Sequencer",
    "stream_walker": "ctrl.stream_walker.StreamWalker", "csr": "ctrl.csr.Csr",
    "supervisor": "ctrl.supervisor.Supervisor", "activity": "ctrl.activity.Activity",
}
"""Unit -> class below hw; the default of ``make synth`` where each file exists."""


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
    found = {name: partial(_make, path) for name, path in MACHINE.items() if _file(path).exists()}
    for room in ROOMS:
        for path in sorted((_hw() / room).glob("*.py")):
            if path.stem == "__init__":
                continue
            module = importlib.import_module(f"hw.{room}.{path.stem}")
            classes = [value for value in vars(module).values()
                       if inspect.isclass(value) and issubclass(value, wiring.Component)
                       and value.__module__ == module.__name__ and _needs(value) in ([], ["cfg"])]
            for n, kind in enumerate(classes):
                dotted = f"{room}.{path.stem}.{kind.__name__}"
                if dotted not in MACHINE.values():
                    found[path.stem if n == 0 and path.stem not in found else f"{path.stem}.{kind.__name__}"] = partial(
                        _make, dotted)
    if (_hw() / "top.py").exists():
        found[TOP] = partial(_make, "top.Accelerator")
    return found


def _hw() -> Path:
    return Path(importlib.import_module("hw").__file__).parent


def _file(dotted: str) -> Path:
    return _hw().joinpath(*dotted.split(".")[:-1]).with_suffix(".py")


def _needs(kind) -> list[str]:
    return [p.name for p in list(inspect.signature(kind.__init__).parameters.values())[1:]
            if p.default is inspect.Parameter.empty and p.name != "locals_" and p.name != "engines"]


def _make(dotted: str, cfg: MachineConfig):
    module, _, name = dotted.rpartition(".")
    kind = getattr(importlib.import_module(f"hw.{module}"), name)
    arguments = {"cfg": cfg} if "cfg" in inspect.signature(kind.__init__).parameters else {}
    if name == "Supervisor":  # as hw/top.py makes it
        arguments |= {"engines": cfg.ports + 2, "locals_": 6}
    return kind(**arguments)
