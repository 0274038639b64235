# SPDX-License-Identifier: Apache-2.0
"""Counts FPGA resources from counts of cell types."""

from collections import Counter

LUTS_OF = {
    # LUTs that a distributed memory or a shift register takes.
    "RAM32X1S": 1, "RAM32X1D": 2, "RAM64X1S": 1, "RAM64X1D": 2, "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4,
    "RAM256X1D": 8, "RAM512X1S": 8, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X16DR8": 8,
    "RAM64X8SW": 8, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
}
FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1")
COLUMNS = ("LUT", "LUTRAM", "FF", "DSP", "BRAM36", "BRAM18", "URAM", "CARRY8")
_IGNORED = ("INV", "MUXF7", "MUXF8", "MUXF9", "GND", "VCC", "BUFG", "IBUF", "OBUF", "$scopeinfo")


def resources(cells: dict[str, int]) -> Counter:
    """:data:`COLUMNS` of a count of cell types.

    LUT holds LUTRAM (memories and shift registers). An upper bound: no two small LUTs share a site; inverters vanish
    into their readers. Two CARRY4, which is what Yosys writes for this family, are one CARRY8. Raises ``ValueError``
    for a cell type it does not know.
    """
    total = Counter()
    for kind, count in cells.items():
        if kind.startswith("LUT") and kind[3:].isdigit():
            total["LUT"] += count
        elif kind in LUTS_OF:
            total["LUT"] += LUTS_OF[kind] * count
            total["LUTRAM"] += LUTS_OF[kind] * count
        elif kind in FLIP_FLOPS:
            total["FF"] += count
        elif kind.startswith("DSP48"):
            total["DSP"] += count
        elif kind.startswith("RAMB36"):
            total["BRAM36"] += count
        elif kind.startswith("RAMB18"):
            total["BRAM18"] += count
        elif kind.startswith("URAM"):
            total["URAM"] += count
        elif kind == "CARRY8":
            total["CARRY8"] += count
        elif kind == "CARRY4":
            total["CARRY8"] += count / 2
        elif kind not in _IGNORED:
            raise ValueError(f"Cell type {kind!r} ({count}) is unknown here; add it to synth/resources.py.")
    return total


def bram36(total: Counter) -> float:
    """Block memories in halves of 36 kbit."""
    return total["BRAM36"] + total["BRAM18"] / 2
