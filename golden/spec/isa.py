# SPDX-License-Identifier: Apache-2.0
"""Instruction set: 256-bit words, one format per opcode, executed alike by ``golden.iss`` and the gateware.

``golden.spec.instructions`` has the record of each instruction; here are its tables by opcode, encoder and decoder.
"""

from golden.spec.instructions import INSTRUCTIONS, stream_lines
from golden.spec.instructions.codes import (
    STREAM_BITS,
    STREAM_LINES,
    Dest,
    Destination,
    Edge,
    Index,
    Memory,
    Opcode,
    Region,
    Unit,
)
from golden.spec.instructions.control import MAGIC
from golden.spec.instructions.record import INSTRUCTION_BYTES
from golden.spec.instructions.words import Word
from golden.spec.model import ConfigError, require

__all__ = [
    "FORMATS", "INSTRUCTIONS", "INSTRUCTION_BYTES", "LIMITS", "MAGIC", "STREAM_BITS", "STREAM_LINES", "UNIT", "Dest",
    "Destination", "Edge", "Index", "Memory", "Opcode", "Region", "Unit", "assemble", "bounds", "decode", "disassemble",
    "encode", "out_of_bounds", "stream_lines",
]

FORMATS: dict[Opcode, Word] = {opcode: record.word for opcode, record in INSTRUCTIONS.items()}
"""Layout of every instruction. Fields that do not apply to an instruction are zero."""

UNIT: dict[Opcode, Unit] = {opcode: record.unit for opcode, record in INSTRUCTIONS.items() if record.unit}
"""Unit that executes an instruction; the sequencer itself executes BEGIN, EXPERTS and END."""

LIMITS: dict[Opcode, dict[str, tuple[int, int]]] = {
    opcode: dict(record.limits) for opcode, record in INSTRUCTIONS.items() if record.limits}
"""Fields the machine refuses with BAD_FIELD outside these inclusive bounds."""


def encode(opcode: Opcode, **fields: int) -> int:
    """One instruction word; omitted fields are 0. Raises :class:`ConfigError` when a value does not fit."""
    word = FORMATS[opcode]
    values = {field.name: 0 for field in word.fields} | {"opcode": int(opcode)}
    unknown = set(fields) - set(values)
    require(not unknown, f"{word.name} has no field {sorted(unknown)}.")
    return word.pack(**(values | fields))


def decode(word: int) -> tuple[Opcode, dict[str, int]]:
    """Opcode and fields of one word. Raises :class:`ConfigError` for an unknown opcode or a reserved bit."""
    try:
        opcode = Opcode(word & 15)
    except ValueError:
        raise ConfigError(f"There is no opcode {word & 15}.") from None
    fields = FORMATS[opcode].unpack(word)
    del fields["opcode"]
    return opcode, fields


def assemble(words: list[int]) -> bytes:
    """Instruction words as they lie in memory: 32 bytes each, little-endian."""
    return b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in words)


def disassemble(data: bytes) -> list[tuple[Opcode, dict[str, int]]]:
    """Inverse of :func:`assemble`, decoded."""
    require(len(data) % INSTRUCTION_BYTES == 0,
            f"A program is a multiple of {INSTRUCTION_BYTES} bytes, not {len(data)}.")
    return [decode(int.from_bytes(data[i:i + INSTRUCTION_BYTES], "little"))
            for i in range(0, len(data), INSTRUCTION_BYTES)]


def bounds(opcode: Opcode, name: str) -> tuple[int, int]:
    """The least and the largest value that the machine accepts in a field, by :data:`LIMITS` or else by its width."""
    field = next(field for field in FORMATS[opcode].fields if field.name == name)
    return LIMITS.get(opcode, {}).get(name, (field.low, field.high))


def out_of_bounds(opcode: Opcode, fields: dict[str, int]) -> str | None:
    """What is wrong with the first field outside :data:`LIMITS`, a clause, or None."""
    for name, (low, high) in LIMITS.get(opcode, {}).items():
        if not low <= fields[name] <= high:
            return f"{name} is {fields[name]}, not {low}..{high}"
    return None
