# SPDX-License-Identifier: Apache-2.0
"""Area of one on-chip memory on UltraScale+: LUTs when it is shallow, block memories in the best shape otherwise."""

from math import ceil

SHAPES = ((0.5, 36, 512), (0.5, 18, 1024), (0.5, 9, 2048), (0.5, 4, 4096), (0.5, 2, 8192), (0.5, 1, 16384),
          (1, 72, 512), (1, 36, 1024), (1, 18, 2048), (1, 9, 4096), (1, 4, 8192), (1, 2, 16384), (1, 1, 32768))
"""(block memories of 36 kbit, width, depth) of one RAMB18E2 and one RAMB36E2 with a port to write and one to read."""
LUT_DEPTH = 64
"""Rows up to which a memory is made of LUTs."""


ULTRA = (72, 4096)
"""Width and depth of an UltraRAM block."""


def ultra(width: int, depth: int) -> int:
    """UltraRAM blocks of ``depth`` rows of ``width`` bits."""
    return ceil(width / ULTRA[0]) * ceil(depth / ULTRA[1])


def in_luts(depth: int) -> bool:
    """Whether a memory of ``depth`` rows is made of LUTs."""
    return depth <= LUT_DEPTH


def memory(width: int, depth: int) -> tuple[int, float]:
    """(LUTs, block memories of 36 kbit) of ``depth`` rows of ``width`` bits."""
    if in_luts(depth):
        bits = 14 if depth <= LUT_DEPTH // 2 else 7  # RAM32M16, RAM64M8: 8 LUTs each
        return 8 * ceil(width / bits), 0
    return 0, min(size * ceil(width / w) * ceil(depth / d) for size, w, d in SHAPES)
