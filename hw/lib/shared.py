# SPDX-License-Identifier: Apache-2.0
"""Shared modules: in an export, units that are made alike become instances of one module."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Shape

from hw.lib.own_reset import add_with_own_reset

PORT_SEPARATOR = "__"


def flat_ports(component) -> dict[str, tuple]:
    """Port name -> (signal, whether it is an output), named as Amaranth names a top module's ports; none of no bits."""
    found = {}
    for path, member, value in component.signature.flatten(component):
        if member.is_port and Shape.cast(member.shape).width:
            found[PORT_SEPARATOR.join(map(str, path))] = value, member.flow.name == "Out"
    return found


class SharedModules:
    """The platform of an export that shares modules. Its modules are those of :attr:`units`, by name; units may share
    modules in their turn, so that more of them come while the first are written."""

    def __init__(self, prefix: str):
        self.prefix = prefix
        self.units: dict[str, object] = {}

    def instances(self, units: list) -> list[Instance]:
        """An instance of one new module for each of ``units``."""
        first = units[0]
        name = f"{self.prefix}_{type(first).__name__}"
        if name in self.units:
            raise ValueError(f"Two groups of {type(first).__name__} are shared; they need names of their own.")
        self.units[name] = first
        return [self._instance(name, unit) for unit in units]

    @staticmethod
    def _instance(name: str, unit) -> Instance:
        pins = [("o" if out else "i", pin, signal) for pin, (signal, out) in flat_ports(unit).items()]
        return Instance(name, ("i", "clk", ClockSignal()), ("i", "rst", ResetSignal()), *pins)


def alike(platform, units: list) -> list:
    """The submodules to add for ``units``, components made with the same arguments: the units themselves, or instances
    of one module where the platform shares modules."""
    if not isinstance(platform, SharedModules) or len(units) == 1:
        return units
    if any(type(unit) is not type(units[0]) or unit.signature != units[0].signature for unit in units):
        names = ", ".join(type(unit).__name__ for unit in units)
        raise ValueError(f"Units of different types or ports share no module: {names}.")
    return platform.instances(units)


def add_clusters(m: Module, platform, units: list) -> None:
    """Make ``units``, one for each cluster and :func:`alike`, the submodules ``cluster0`` and so on of ``m``, each with
    a reset register of its own."""
    for n, module in enumerate(alike(platform, units)):
        add_with_own_reset(m, f"cluster{n}", module)
