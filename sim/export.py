# SPDX-License-Identifier: Apache-2.0
"""Verilog for simulation: the same netlist as the shipped one, written so that Verilator makes it fast.

``amaranth.back.verilog`` turns each register's next value into an ``always @*`` that reads the reset input, which puts
the whole design into Verilator's input-combinational region. A plain ``proc`` merges it into the clocked block instead:
3 to 11 times faster. ``tests/hw/test_export.py`` shows that both give the same results.
"""

import re

from amaranth._toolchain.yosys import find_yosys  # private: amaranth is pinned

from hw.netlist import netlist

_SCRIPT = "read_rtlil <<rtlil\n{il}\nrtlil\nproc\nmemory_collect\nopt_clean\nwrite_verilog -norename -noattr\n"


_ZERO_INIT = re.compile(r"^  initial begin\n(?:    \S+\[\d+\] = \d+'h0+;\n)+  end\n", re.MULTILINE)
"""A memory set to zero word by word: tens of thousands of lines that would take minutes to compile."""


_OLD_WORD = re.compile(r"(    parameter \\COLLISION_X_MASK [1-9]\d*')(0+)"
                       r"(\n(?:    parameter .*\n)*?    parameter \\CLK_ENABLE 1\n)")
"""A clocked read port's guarantee to return the old word while a new one is written."""


def collisions_open(il: str) -> str:
    """RTLIL in which a read of a word that is written in the same cycle is undefined."""
    return _OLD_WORD.sub(lambda port: port[1] + "1" * len(port[2]) + port[3], il)


def port_names(component) -> list[str]:
    """Flat Verilog names of a component's ports, clock and reset not included."""
    names = []

    def visit(path, member):
        if member.is_port:
            names.append("__".join(str(part) for part in path))

    for path, member, _ in component.signature.flatten(component):
        visit(path, member)
    return names


def sim_verilog(component, name: str, exact: bool = False) -> str:
    """Verilog text of ``component`` as module ``name``; ports keep their Amaranth names.

    Memories start uninitialised, and a read of a word that is written in the same cycle is undefined: block memories
    differ in both, so a design that depends on either must fail. ``exact``: they start with zeros and return the old
    word, as in the shipped netlist.
    """
    il = netlist(component, name)
    il = il if exact else collisions_open(il)
    yosys = find_yosys(lambda version: version >= (0, 40))
    text = yosys.run(["-q", "-"], _SCRIPT.format(il=il), ignore_warnings=True)
    return text if exact else _ZERO_INIT.sub("", text)
