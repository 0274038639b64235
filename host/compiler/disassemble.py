# SPDX-License-Identifier: Apache-2.0
"""Disassembler of program images: every instruction with its symbol, waits and the fields that are not zero."""

import enum
from collections.abc import Iterator

from golden.spec import isa
from golden.spec.instructions.words import Field
from golden.spec.isa import INSTRUCTIONS, Opcode, Unit
from golden.spec.program.image import Image

_HEX = {"fingerprint", "magic"}


def waits(mask: int) -> str:
    """Names of the units in a ``wait`` field."""
    return "+".join(str(unit.name).lower() for unit in Unit if mask & unit) or "-"


def instruction(opcode: Opcode, fields: dict[str, int]) -> str:
    """Opcode and fields that differ from 0, enumerations by name."""
    parts = []
    for field in INSTRUCTIONS[opcode].fields:
        name, value = field.name, fields[field.name]
        if value == 0 and name not in ("dst", "row", "src_row", "dst_row"):
            continue
        parts.append(f"{name}={_text(field, value)}")
    return f"{opcode.name.lower():<9} {' '.join(parts)}"


def _text(field: Field, value: int) -> str:
    """A value as the names of its codes, where it has some."""
    names = {int(code): str(code.name).lower() for code in field.codes or ()}
    if value in names:
        return names[value]
    if field.codes and issubclass(field.codes, enum.Flag):
        return "+".join(name for code, name in names.items() if code & value)
    return f"0x{value:x}" if field.name in _HEX else str(value)


COLUMNS = ("program", "index", "opcode", "wait", "cycles", "macs", "bytes", "symbol", "text")
"""Names of what :func:`rows` tells of an instruction."""


def rows(image: Image, name: str) -> Iterator[dict]:
    """The instructions of the program ``name`` as data, by :data:`COLUMNS`; cycles are estimates."""
    for index, (word, symbol) in enumerate(zip(image.words(name), image.symbols[name], strict=True)):
        opcode, fields = isa.decode(word)
        values = (name, index, opcode.name.lower(), waits(fields["wait"]), symbol.cycles, symbol.macs, symbol.bytes,
                  symbol.name, instruction(opcode, fields))
        yield dict(zip(COLUMNS, values, strict=True))


def listing(image: Image, task: str | None = None) -> Iterator[str]:
    """Lines for one program; instructions that EXPERTS repeats are indented."""
    name = next(iter(image.programs)) if task is None else task
    body = 0
    yield f"; program {name!r}: {len(image.program(name)) // isa.INSTRUCTION_BYTES} instructions"
    yield f"; {'index':>5} {'wait':<10} {'estimate':>9} {'symbol':<24} instruction"
    for index, (word, symbol) in enumerate(zip(image.words(name), image.symbols[name], strict=True)):
        opcode, fields = isa.decode(word)
        indent = "  " if body > 0 else ""
        body = fields["body"] if opcode is Opcode.EXPERTS else body - 1
        yield (f"  {index:>5} {waits(fields['wait']):<10} {symbol.cycles:>9} {symbol.name:<24} "
               f"{indent}{instruction(opcode, fields)}")


def summary(image: Image) -> Iterator[str]:
    """Lines about the whole image."""
    m, c = image.machine, image.model
    yield f"; model {c.name!r} 0x{c.fingerprint:016x}, {c.macs:,} multiply-accumulates a task"
    yield f"; machine {m.name!r} 0x{m.fingerprint:016x}, {m.macs_per_cycle} multiply-accumulates a cycle"
    yield f"; weights {sum(map(len, image.planes)):,} bytes in {len(image.planes)} planes, tables {len(image.tables):,}"
    for task, symbols in image.symbols.items():
        yield (f"; {task}: {len(symbols)} instructions, {sum(s.macs for s in symbols):,} multiply-accumulates, "
               f"{sum(s.bytes for s in symbols):,} bytes, {sum(s.cycles for s in symbols):,} cycles of work estimated")


def disassemble(image: Image) -> str:
    """The whole image."""
    lines = list(summary(image))
    for task in image.programs:
        lines += ["", *listing(image, task)]
    return "\n".join(lines) + "\n"
