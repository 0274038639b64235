# SPDX-License-Identifier: Apache-2.0
"""Instructions of the DMA unit: LOAD, STORE, COPY."""

from golden.spec.instructions.codes import Memory, Opcode, Region, Resource, Unit
from golden.spec.instructions.record import AddressRange, Instruction, ProgramState, choose
from golden.spec.instructions.words import Field

_ROWS = {"rows": (1, 1 << 16)}
_MEMORY = Field("memory", 1, "operand or residual", codes=Memory)


def _rows(write: bool):
    def ranges(f, s: ProgramState, pick=choose) -> list[AddressRange]:
        return [AddressRange(0, Resource.OPERAND, when=f["memory"] == 0, base=f["row"], count=f["rows"], write=write),
                AddressRange(1, Resource.RESIDUAL, when=f["memory"] == 1, base=f["row"], count=f["rows"], write=write)]

    return ranges


def _copied(f, s: ProgramState, pick=choose) -> list[AddressRange]:
    return [AddressRange(i, Resource.RESIDUAL, base=f[row], count=f["rows"], write=row == "dst_row")
            for i, row in enumerate(("src_row", "dst_row"))]


LOAD = Instruction(
    opcode=Opcode.LOAD, about="DRAM to on-chip rows. Operand rows get exponent 0.", unit=Unit.DMA,
    fields=(
        Field("region", 2, "base address: tables, input or output", codes=Region),
        Field("offset", 32, "64-byte lines from there"), _MEMORY, Field("row", 16, "first row"),
        Field("rows", 17, "how many")),
    limits={"region": (0, len(Region) - 1)} | _ROWS, ranges=_rows(write=True))

STORE = Instruction(
    opcode=Opcode.STORE, about="On-chip rows to DRAM, from the output base address.", unit=Unit.DMA,
    fields=(Field("offset", 32, "64-byte lines from the output base"), _MEMORY, Field("row", 16, "first row"),
            Field("rows", 17, "how many")),
    limits=_ROWS, ranges=_rows(write=False))

COPY = Instruction(
    opcode=Opcode.COPY, about="Residual rows to residual rows; the ranges do not overlap.", unit=Unit.DMA,
    fields=(Field("src_row", 16, "first residual row that is read"),
            Field("dst_row", 16, "first residual row that is written"), Field("rows", 17, "how many")),
    limits=_ROWS, ranges=_copied)
