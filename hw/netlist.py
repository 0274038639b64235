# SPDX-License-Identifier: Apache-2.0
"""Netlists of components as RTLIL text, for the exports of Verilog."""

import gc
import re

from amaranth.back import rtlil

from hw.lib.shared import SharedModules

_ZEROS = re.compile(r"(?m)^  cell \$meminit_v2 .*\n(?:    .*\n)*?    connect \\DATA \d+'0+\n(?:    .*\n)*?  end\n")
"""Cells that fill a memory with zeros."""
_NO_BITS = re.compile(r"(?m)^(?:  attribute .*\n)*  wire width 0 .*\n|^connect \S+ \{  \}\n")
"""Wires of no bits, as of fields that have one value only in this configuration, and what is connected to them."""


def netlist(component, name: str, platform: SharedModules | None = None) -> str:
    """RTLIL of ``component``, whose top module is ``name``. Memories keep their initial contents.

    Amaranth makes millions of small tuples on the way, all of which live to the end: looking for garbage among them
    would take a third of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _NO_BITS.sub("", rtlil.convert(component, name, platform, emit_src=False))
    finally:
        if collecting:
            gc.enable()


def shared_netlist(component, name: str) -> str:
    """RTLIL of ``component``, with one module for units that are made alike (:func:`hw.lib.shared.alike`)."""
    platform = SharedModules(name)
    texts = [netlist(component, name, platform)]
    while len(texts) <= len(platform.units):  # a shared unit may share modules inside
        module, unit = list(platform.units.items())[len(texts) - 1]
        texts.append(netlist(unit, module, platform).replace("attribute \\top 1\n", ""))
    return "\n".join(texts)


def without_zeros(il: str) -> str:
    """RTLIL without the initial zeros of memories: no result depends on them, UltraRAM has none, and writing them takes
    most of the lines and of the time of an export."""
    return _ZEROS.sub("", il)
