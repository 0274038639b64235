# SPDX-License-Identifier: Apache-2.0
"""RTLIL text of a component: generated, split into its units, and searched for ports, memories and products."""

import re
import warnings

from amaranth.back import rtlil
from amaranth.hdl import UnusedElaboratable

NAME = "dut"
_MODULE = re.compile(r"(?ms)^(?:attribute [^\n]*\n)*^module (\S+)\n(.*?)^end\n")


def to_rtlil(component) -> str:
    """RTLIL of ``component``, top module :data:`NAME`.

    Amaranth names the elements of an array port ``port[0]``, and Yosys' logic optimiser gives bit 0 of a wire ``port``
    the same name and stops. Brackets inside names become underscores.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        text = rtlil.convert(component, name=NAME, emit_src=False)
    return re.sub(r"\\[^\s\[\]]+(?:\[\d+\][^\s\[\]]*)+", lambda name: name[0].replace("[", "_").replace("]", ""), text)


def split(text: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """The top module with its children as black boxes, and each child: unit -> (cell type in the former, RTLIL).

    A child's RTLIL holds the modules below it; its own module is called :data:`NAME`.
    """
    modules = {match[1]: match for match in _MODULE.finditer(text)}
    top = modules[f"\\{NAME}"]
    shell, found = [top[0]], {}
    for child in _cells(top[2]):
        if child not in modules:
            continue
        wanted, below = [child], 0
        while below < len(wanted):
            wanted += [name for name in _cells(modules[wanted[below]][2]) if name in modules and name not in wanted]
            below += 1
        inside = "".join(modules[name][0] for name in wanted)
        renamed = re.sub(rf"{re.escape(child)}(?=[\s.])", lambda _: f"\\{NAME}", inside)
        found[child.removeprefix(f"\\{NAME}.").partition("$")[0]] = child[1:], renamed
        shell.append(_black_box(modules[child]))
    return "\n".join(shell), found


def ports(text: str) -> dict[str, tuple[str, int]]:
    """Ports of the module :data:`NAME` of an RTLIL text: name -> (input or output, bits)."""
    found = re.findall(r"(?m)^  wire (?:width (\d+) )?(?:signed )?(input|output) \d+ +\\(\S+)$", _top(text)[2])
    return {name: (direction, int(bits or 1)) for bits, direction, name in found}


def black_box(text: str) -> str:
    """The module :data:`NAME` of an RTLIL text with its ports and nothing inside."""
    return _black_box(_top(text))


def _top(text: str) -> re.Match:
    return next(module for module in _MODULE.finditer(text) if module[1] == f"\\{NAME}")


def _black_box(module: re.Match) -> str:
    ports = re.findall(r"(?m)^  wire (?:\S+ )*(?:input|output) \d+ +\S+\n", module[2])
    return f"attribute \\blackbox 1\nmodule {module[1]}\n{''.join(ports)}end\n"


def memories(text: str) -> dict[str, tuple[int, int]]:
    """Memories of an RTLIL text: ``module.name`` -> (width, rows)."""
    found = {}
    for module in _MODULE.finditer(text):
        place = module[1].removeprefix(f"\\{NAME}").lstrip(".\\")
        for width, rows, name in re.findall(r"(?m)^  memory width (\d+) size (\d+) \\(\S+)", module[2]):
            found[f"{place}.{name}" if place else name] = int(width), int(rows)
    return found


def products(text: str) -> int:
    """Multiplications that an RTLIL text asks for, those by constants included."""
    return len(re.findall(r"^  cell \$mul ", text, re.M))


def _cells(body: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"(?m)^  cell (\\\S+) ", body)))
