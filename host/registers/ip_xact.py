# SPDX-License-Identifier: Apache-2.0
"""The register map as IP-XACT (IEEE 1685-2009, the version that Vivado's IP packager reads): a component with one
memory map."""

from xml.etree import ElementTree

from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.regs import MAP_BYTES, REGISTERS, Access, Field, Register
from host.registers.facts import ACCESSES, NAME, SLAVE, about, heading, reset_of

SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
WRITTEN = {Access.TOW: "oneToToggle", Access.SOW: "oneToSet"}


def text(machine: MachineConfig | None = None) -> str:
    """The whole file."""
    ElementTree.register_namespace("spirit", SPIRIT)
    component = ElementTree.Element(_tag("component"))
    for name, value in (("vendor", "edge-moe"), ("library", "ip"), ("name", NAME), ("version", f"{ABI_VERSION}.0")):
        _add(component, name, value)
    space = _add(_add(component, "memoryMaps"), "memoryMap")
    _add(space, "name", SLAVE)
    block = _add(space, "addressBlock")
    for name, value in (("name", "registers"), ("description", f"{heading(machine)}. {ACCESSES}"),
                        ("baseAddress", "0x0"), ("range", f"0x{MAP_BYTES:X}"), ("width", "32"), ("usage", "register"),
                        ("access", "read-write")):
        _add(block, name, value)
    for register in REGISTERS:
        _register(block, register, reset_of(register, machine))
    _add(component, "description", f"{heading(machine)}. Written by `edge-moe registers`.")
    ElementTree.indent(component)
    body = ElementTree.tostring(component, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n{body}\n'


def _register(block: ElementTree.Element, register: Register, reset: int | None) -> None:
    item = _add(block, "register")
    for name, value in (("name", register.name), ("description", about(register)),
                        ("addressOffset", f"0x{register.offset:X}"), ("size", str(register.bits)),
                        ("access", register.access.rights)):
        _add(item, name, value)
    if reset is not None:
        _add(_add(item, "reset"), "value", f"0x{reset:X}")
    for field in register.fields:
        _field(item, field)


def _field(register: ElementTree.Element, field: Field) -> None:
    item = _add(register, "field")
    for name, value in (("name", field.name), ("description", field.about), ("bitOffset", str(field.low)),
                        ("bitWidth", str(field.width)), ("access", field.access.rights),
                        ("modifiedWriteValue", WRITTEN.get(field.access)),
                        ("readAction", "clear" if field.access is Access.COR else None)):
        if value is not None:
            _add(item, name, value)


def _add(parent: ElementTree.Element, name: str, value: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, _tag(name))
    child.text = value
    return child


def _tag(name: str) -> str:
    return f"{{{SPIRIT}}}{name}"
