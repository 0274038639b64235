# SPDX-License-Identifier: Apache-2.0
"""The ``.hwh`` file of a stand-in's block design, with elements and attributes as Vivado 2022.1 writes them."""

from xml.etree import ElementTree

from golden.spec.boards import Board


def text(tool) -> str:
    """The file."""
    root = ElementTree.Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION="2023.2")
    ElementTree.SubElement(root, "SYSTEMINFO", ARCH="zynquplus", NAME="system", **_device(tool.board))
    modules = ElementTree.SubElement(root, "MODULES")
    for name, cell in tool.design.cells.items():
        vlnv = cell.vlnv if cell.vlnv.count(":") == 3 else f"{cell.vlnv}:1.0"
        module = ElementTree.SubElement(modules, "MODULE", INSTANCE=name, FULLNAME=f"/{name}", VLNV=vlnv,
                                        MODTYPE=vlnv.split(":")[2])
        if name == "accelerator":
            _registers(module, cell.core)
        _ports(module, name, cell, tool.design)
        memory = ElementTree.SubElement(module, "MEMORYMAP")
        for (space, segment), (base, size) in tool.design.mapped.items():
            if space.split("/")[1] == name:
                _range(memory, tool.design, space, segment, base, size)
    return ElementTree.tostring(root, encoding="unicode")


def _device(board: Board) -> dict[str, str]:
    device, package, speed = board.device.split("-")[:3]
    return {"DEVICE": device, "PACKAGE": package, "SPEEDGRADE": f"-{speed}"}


def _registers(module: ElementTree.Element, core) -> None:
    blocks = ElementTree.SubElement(module, "ADDRESSBLOCKS")
    for block in core.parts["map:s_axi_control"].parts.values():
        one = ElementTree.SubElement(blocks, "ADDRESSBLOCK", INTERFACE="s_axi_control", NAME=block.name,
                                     RANGE=block.properties["range"], USAGE="register")
        registers = ElementTree.SubElement(one, "REGISTERS")
        for register in block.parts.values():
            item = ElementTree.SubElement(registers, "REGISTER", NAME=register.name)
            for key, value in register.properties.items():
                shown = str(int(value, 0)) if key in ("address_offset", "size") else value
                ElementTree.SubElement(item, "PROPERTY", NAME=key.upper(), VALUE=shown)


def _ports(module: ElementTree.Element, name: str, cell, design) -> None:
    ports = ElementTree.SubElement(module, "PORTS")
    for pin, way in cell.pins().items():
        handle = f"/{name}/{pin}"
        extra = {"CLKFREQUENCY": str(design.cells["ps"].clock_hz)} if design.nets.get(handle) == "/ps/pl_clk0" else {}
        port = ElementTree.SubElement(ports, "PORT", NAME=pin, DIR=way[0].upper(), **extra)
        ends = [design.nets[handle]] if way == "in" and handle in design.nets else [
            load for load, driver in design.nets.items() if driver == handle]
        connections = ElementTree.SubElement(port, "CONNECTIONS")
        for end in ends:
            _, instance, other = end.split("/")
            ElementTree.SubElement(connections, "CONNECTION", INSTANCE=instance, PORT=other)


def _range(memory: ElementTree.Element, design, space: str, segment: str, base: int, size: int) -> None:
    cell, _, name = space.removeprefix("/").partition("/")
    far = design.reached(f"/{cell}/{design.cells[cell].spaces()[name]}")
    ElementTree.SubElement(
        memory, "MEMRANGE", ADDRESSBLOCK=segment.rsplit("/", 1)[1], BASEVALUE=f"0x{base:08X}",
        HIGHVALUE=f"0x{base + size - 1:08X}", INSTANCE=segment.split("/")[1],
        MASTERBUSINTERFACE=design.cells[cell].spaces()[name], SLAVEBUSINTERFACE=far.rsplit("/", 1)[1])
