# SPDX-License-Identifier: Apache-2.0
"""Netlists of components as RTLIL text, for the exports of Verilog."""

import gc
import re

from amaranth.back import rtlil

_ZEROS = re.compile(r"\n  cell \$meminit_v2 (?:.*\n)+?    connect \\DATA \d+'0+\n  end\n")


def netlist(component, name: str) -> str:
    """RTLIL of ``component``, whose top module is ``name``. Memories keep their initial contents.

    Amaranth makes millions of small tuples on the way, all of which live to the end: looking for garbage among them
    would take a third of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return rtlil.convert(component, name=name, emit_src=False)
    finally:
        if collecting:
            gc.enable()


def without_zeros(il: str) -> str:
    """RTLIL without the initial zeros of memories: no result depends on them, UltraRAM has none, and writing them takes
    most of the lines and of the time of an export."""
    return _ZEROS.sub("\n", il)
