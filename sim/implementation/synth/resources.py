# SPDX-License-Identifier: Apache-2.0
"""Counts FPGA resources from counts of cell types."""

from collections import Counter
from pathlib import Path

from sim.implementation.targets import Family, read_target

TARGET_FILE = Path(__file__).parent / "targets" / "ultrascale_plus.toml"
TARGET = read_target(TARGET_FILE, Family)
"""The family that is synthesised for."""
COLUMNS = ("LUT", "LUTRAM", "FF", "DSP", "BRAM36", "BRAM18", "URAM", "CARRY8")


def resources(cells: dict[str, int]) -> Counter:
    """:data:`COLUMNS` of a count of cell types.

    LUT holds LUTRAM (memories and shift registers). An upper bound: no two small LUTs share a site; inverters vanish
    into their readers. Raises ``ValueError`` for a cell type that the target does not name.
    """
    total = Counter()
    for kind, count in cells.items():
        if kind.startswith("LUT") and kind[3:].isdigit():
            total["LUT"] += count
        elif kind in TARGET.lut_memories:
            total["LUT"] += TARGET.lut_memories[kind] * count
            total["LUTRAM"] += TARGET.lut_memories[kind] * count
        elif kind in TARGET.flip_flops:
            total["FF"] += count
        elif kind in TARGET.carries:
            total["CARRY8"] += TARGET.carries[kind] * count
        elif block := next((column for begin, column in TARGET.blocks.items() if kind.startswith(begin)), None):
            total[block] += count
        elif kind not in (*TARGET.free, *TARGET.constants):
            raise ValueError(f"Cell type {kind!r} ({count}) is unknown here; add it to {TARGET_FILE.name}.")
    return total


def bram36(total: Counter) -> float:
    """Block memories in halves of 36 kbit."""
    return total["BRAM36"] + total["BRAM18"] / 2
