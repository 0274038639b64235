# SPDX-License-Identifier: Apache-2.0
"""RTLIL text of a component: generated, split into its units, and searched for ports, memories and products."""

import re
import warnings
from collections import Counter

from amaranth.back import rtlil
from amaranth.hdl import UnusedElaboratable

NAME = "dut"
CLUSTER = re.compile(r"\.cluster\d+$")
"""End of the name of one cluster's part of a unit."""
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
    """The top module with its units as black boxes, and each unit: name -> (cell type in the former, RTLIL).

    The units are the children of the top; of a child of several clusters its clusters, which differ in names only,
    while what distributes work to them stays with the top. A unit's RTLIL holds the modules below it; its own module is
    called :data:`NAME`.
    """
    modules = {match[1]: match for match in _MODULE.finditer(text)}
    top = f"\\{NAME}"
    shell, found = [modules[top][0]], {}
    for child in _below(modules, top, direct=True):
        clusters = [name for name in _below(modules, child, direct=True) if CLUSTER.search(name)]
        boxes = [child]
        if len(clusters) > 1:
            boxes = clusters
            inside = {name for cluster in clusters for name in _below(modules, cluster)}
            shell += [modules[name][0] for name in _below(modules, child) if name not in inside]
        for box in boxes:
            inside = "".join(modules[name][0] for name in _below(modules, box))
            renamed = re.sub(rf"{re.escape(box)}(?=[\s.])", lambda _: top, inside)
            found[re.sub(r"\$\d+", "", box.removeprefix(f"{top}."))] = box[1:], renamed
            shell.append(_black_box(modules[box]))
    return "\n".join(shell), found


def _below(modules: dict[str, re.Match], name: str, *, direct: bool = False) -> list[str]:
    """The module ``name`` and all that it is made of, each once; ``direct``: its own parts alone."""
    wanted, at = [name], 0
    while at < len(wanted) and not (direct and at):
        wanted += [cell for cell in _cells(modules[wanted[at]][2]) if cell in modules and cell not in wanted]
        at += 1
    return wanted[direct:]


def ports(text: str) -> dict[str, tuple[str, int]]:
    """Ports of the module :data:`NAME` of an RTLIL text: name -> (input or output, bits)."""
    found = re.findall(r"(?m)^  wire (?:width (\d+) )?(?:signed )?(input|output) \d+ +\\(\S+)$", _top(text)[2])
    return {name: (direction, int(bits or 1)) for bits, direction, name in found}


def same_ports(text: str, other: str) -> dict[str, str]:
    """The ports of one cluster of a unit that another one has too: names in ``text`` -> names in ``other``. They differ
    in the number of the cluster and in those that make names unique.

    Raises ``ValueError`` where the other one has more.
    """
    mine, others = _unnumbered(ports(text)), _unnumbered(ports(other))
    if more := others.keys() - mine.keys():
        raise ValueError(f"Clusters of a unit are not alike: one has other ports, {sorted(more)[0]}.")
    return {mine[key]: name for key, name in others.items()}


def _unnumbered(found: dict[str, tuple[str, int]]) -> dict[tuple, str]:
    """Ports by name without numbers, direction, bits, and how many of the same came before."""
    keys, seen = {}, Counter()
    for name, (direction, bits) in found.items():
        key = re.sub(r"^cluster\d+|\$\d+", "", name), direction, bits
        keys[*key, seen[key]] = name
        seen[key] += 1
    return keys


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
