# SPDX-License-Identifier: Apache-2.0
"""Enlargement of maps by the DMA unit: UPSAMPLE."""

from golden.spec.instructions.codes import Edge, Opcode, Resource, Unit
from golden.spec.instructions.record import AddressRange, Instruction, ProgramState, choose, edge_bits
from golden.spec.instructions.words import Field


def _extents(f, pick=choose) -> dict:
    """Last line and column of the strip; lines and columns of the result."""
    top, bottom, left, right = edge_bits(f)
    return {"line_last": f["lines"] - 1, "column_last": f["width"] - 1,
            "result_lines": 2 * f["lines"] - 2 + top + bottom, "result_columns": 2 * f["width"] - 2 + left + right}


def _products(f, pick=choose) -> dict:
    return {"results": f["result_lines"] * f["result_columns"], "strip_lines": f["line_last"] * f["pitch"]}


def _totals(f, pick=choose) -> dict:
    """``strip_last``: the last position of the strip."""
    return {"strip_last": f["strip_lines"] + f["column_last"]}


def _ranges(f, s: ProgramState, pick=choose) -> list[AddressRange]:
    return [AddressRange(0, Resource.OPERAND, base=f["src_row"], steps=f["strip_last"], stride=f["rows"],
                         count=f["rows"]),
            AddressRange(1, Resource.OPERAND, base=f["dst_row"], steps=f["results"] - 1, stride=f["rows"],
                         count=f["rows"], write=True)]


UPSAMPLE = Instruction(
    opcode=Opcode.UPSAMPLE, unit=Unit.DMA,
    about="Bilinear enlargement by 2 of a strip of a map of unsigned bytes, `rows` operand rows a position: "
          "(9 a + 3 b + 3 c + d + 8) >> 4, borders repeated. On a side without an edge the outermost line or column of "
          "the result is left out, since it depends on what lies beyond the strip. Result lines follow each other.",
    fields=(
        Field("src_row", 16, "operand row of the strip's first position"),
        Field("dst_row", 16, "operand row of the first result"), Field("rows", 4, "operand rows of a position"),
        Field("width", 10, "positions of a line of the strip"), Field("lines", 8, "lines of the strip"),
        Field("pitch", 10, "positions from line to line of the strip"),
        Field("edges", 4, "Edge bits of the strip", codes=Edge)),
    limits={"rows": (1, 15), "width": (2, 1023), "lines": (2, 255), "pitch": (2, 1023)},
    extents=_extents, products=_products, totals=_totals, ranges=_ranges)
