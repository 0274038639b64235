# SPDX-License-Identifier: Apache-2.0
"""The accelerator as a kernel of XRT: ``kernel.xml``, and ``link.cfg`` for the vendor's linker."""

from xml.etree import ElementTree

from golden.spec.boards.platform import AlveoPlatform
from golden.spec.machine import ABI_VERSION
from golden.spec.regs import REGISTERS
from hw.platform.choice import CONTROL, LIBRARY, VENDOR, Choice
from hw.platform.facts import CONTROL_BYTES, UNRUN, memory_bus
from hw.verilog import NAME

UNIT = f"{NAME}_1"
"""The one instance of the kernel."""


def xml(choice: Choice) -> str:
    """Ports and arguments. The host writes registers itself, by offset (``user_managed``); the arguments tell the
    linker which bus an address belongs to."""
    root = ElementTree.Element("root", versionMajor="1", versionMinor="9")
    kernel = ElementTree.SubElement(
        root, "kernel", name=NAME, language="ip", vlnv=f"{VENDOR}:{LIBRARY}:{NAME}:{ABI_VERSION}.0", attributes="",
        preferredWorkGroupSizeMultiple="0", workGroupSize="1", interrupt="true", hwControlProtocol="user_managed")
    ports = ElementTree.SubElement(kernel, "ports")
    ElementTree.SubElement(ports, "port", name=CONTROL, mode="slave", range=f"0x{CONTROL_BYTES:X}", dataWidth="32",
                           portType="addressable", base="0x0")
    for bus, bits in choice.managers.items():
        ElementTree.SubElement(ports, "port", name=bus, mode="master", range="0x" + 16 * "F", dataWidth=str(bits),
                               portType="addressable", base="0x0")
    arguments = ElementTree.SubElement(kernel, "args")
    pointers = [(register, bus) for register in REGISTERS if (bus := memory_bus(register, choice.machine))]
    for number, (register, bus) in enumerate(pointers):
        ElementTree.SubElement(arguments, "arg", name=register.name.lower(), addressQualifier="1", id=str(number),
                               port=bus, size="0x8", offset=f"0x{register.offset:X}", hostOffset="0x0", hostSize="0x8",
                               type="void*")
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n{body}\n'


def link(choice: Choice) -> str:
    """Which memory banks each bus reaches, and the clock."""
    platform = choice.board.platform
    assert isinstance(platform, AlveoPlatform)
    lines = ["# SPDX-License-Identifier: Apache-2.0",
             f"# The machine {choice.machine.name} on {choice.board.name}; written by make platform. {UNRUN}",
             f"platform={platform.shell}", f"kernel_frequency={choice.clock_mhz}", "save-temps=1", "",
             "[connectivity]", f"nk={NAME}:1:{UNIT}"]
    lines += [f"sp={UNIT}.{bus}:{platform.memory}" for bus in choice.managers]
    return "\n".join([*lines, ""])
