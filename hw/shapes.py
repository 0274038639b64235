# SPDX-License-Identifier: Apache-2.0
"""Amaranth layouts of the spec: struct layouts of its words and records, sides of a strip by name."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from golden.spec.instructions.words import Word
from golden.spec.isa import FORMATS, Edge, Opcode


def struct_of(word: Word) -> data.StructLayout:
    """The layout whose bits equal ``word.pack``; reserved bits come last as ``reserved``."""
    members = {field.name: signed(field.width) if field.signed else unsigned(field.width) for field in word.fields}
    if word.width > word.used:
        members["reserved"] = unsigned(word.width - word.used)
    return data.StructLayout(members)


def struct_of_record(record: tuple[tuple[str, str], ...]) -> data.StructLayout:
    """The layout of a packed record of ``golden.spec.machine`` (PARAMS): little-endian integers, first one lowest."""
    return data.StructLayout({name: (signed if kind[1] == "i" else unsigned)(8 * int(kind[2:]))
                              for name, kind in record})


INSTRUCTION: dict[Opcode, data.StructLayout] = {opcode: struct_of(word) for opcode, word in FORMATS.items()}
"""View of a 256-bit instruction, for each opcode."""
EDGES = data.FlexibleLayout(max(Edge).bit_length(),
                            {edge.name.lower(): data.Field(1, edge.bit_length() - 1) for edge in Edge})
"""View of Edge bits: ``top``, ``bottom``, ``left``, ``right``."""
