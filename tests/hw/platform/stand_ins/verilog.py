# SPDX-License-Identifier: Apache-2.0
"""Ports and interface attributes of a Verilog file's top module, as the vendor's packager infers interfaces."""

import re
from dataclasses import dataclass, field

from tests.hw.platform.stand_ins.tcl import Refused

READ = {"ARADDR", "ARLEN", "ARSIZE", "ARBURST", "ARVALID", "ARREADY", "RDATA", "RRESP", "RLAST", "RVALID", "RREADY"}
WRITE = {"AWADDR", "AWLEN", "AWSIZE", "AWBURST", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WLAST", "WVALID", "WREADY",
         "BRESP", "BVALID", "BREADY"}
LITE = {"AWADDR", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WVALID", "WREADY", "BRESP", "BVALID", "BREADY", "ARADDR",
        "ARVALID", "ARREADY", "RDATA", "RRESP", "RVALID", "RREADY"}


@dataclass
class Interface:
    """``ports``: physical port by logical one; ``manager``: whether it drives addresses."""

    kind: str
    ports: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    manager: bool = False


@dataclass
class Top:
    """A module: direction and bits of each port, and its interfaces."""

    name: str
    ports: dict[str, tuple[str, int]]
    interfaces: dict[str, Interface]


def read(text: str, top: str) -> Top:
    """The module ``top``. Raises Refused where its attributes are not complete or do not fit its ports."""
    head = re.search(rf"^module {top} \((.*?)^\);", text, re.DOTALL | re.MULTILINE)
    if not head:
        raise Refused(f"there is no module {top}")
    ports, interfaces = {}, {}
    pattern = r"\(\* (.*?) \*\)\s+(input|output)\s+wire (?:\[(\d+):0\] )?(\w+)"
    for marks, direction, high, name in re.findall(pattern, head[1], re.DOTALL):
        ports[name] = direction, int(high or 0) + 1
        marks = dict(re.findall(r'(\w+) = "([^"]*)"', marks))
        kind, label, role = re.fullmatch(r"xilinx\.com:(\S+):1\.0 (\S+) (\S+)", marks["X_INTERFACE_INFO"]).groups()
        one = interfaces.setdefault(label, Interface(kind))
        one.ports[role] = name
        for pair in marks.get("X_INTERFACE_PARAMETER", "").split(", "):
            key, _, value = pair.partition(" ")
            one.parameters |= {key: value} if value else {}
    for label, one in interfaces.items():
        _complete(label, one, ports)
    return Top(top, ports, interfaces)


def _complete(label: str, one: Interface, ports: dict) -> None:
    if one.parameters.get("XIL_INTERFACENAME") != label:
        raise Refused(f"{label} has parameters of {one.parameters.get('XIL_INTERFACENAME')}")
    if one.kind != "interface:aximm":
        return
    one.manager = any(ports[one.ports[role]][0] == "output" for role in ("ARVALID", "AWVALID") if role in one.ports)
    wanted = LITE if one.parameters["PROTOCOL"] == "AXI4LITE" else set()
    if not wanted:
        wanted = {"READ_ONLY": READ, "READ_WRITE": READ | WRITE}[one.parameters["READ_WRITE_MODE"]]
    if missing := wanted - set(one.ports):
        raise Refused(f"{label} has no {sorted(missing)[0]}")
    for role, bits in (("RDATA", "DATA_WIDTH"), ("ARADDR", "ADDR_WIDTH")):
        if ports[one.ports[role]][1] != int(one.parameters[bits]):
            raise Refused(f"{label}: {bits} is {one.parameters[bits]}, {role} has {ports[one.ports[role]][1]} bits")
