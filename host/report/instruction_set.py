# SPDX-License-Identifier: Apache-2.0
"""Manual of the instruction set, from the instructions' records, whose formulas are evaluated on field names."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from golden.spec.instructions import INSTRUCTIONS
from golden.spec.instructions.codes import MEMORIES
from golden.spec.instructions.record import AddressRange, Instruction, ProgramState
from golden.spec.instructions.words import Word
from golden.spec.isa import Index
from golden.spec.machine import U280, ZCU102, MachineConfig

_ATOM, _PRODUCT, _SUM, _COMPARISON, _AND, _OR, _CHOICE = range(7, 0, -1)


@dataclass(frozen=True, eq=False)
class Term:
    """An expression as text: ``text`` whose outermost operator binds like ``level``, plus the number ``more``.
    ``codes``: those of a field, whose bits have names where they are flags."""

    text: str
    level: int = _ATOM
    more: int = 0
    codes: type[enum.Enum] | None = None

    def __str__(self) -> str:
        return f"{self.text} {'-' if self.more < 0 else '+'} {abs(self.more)}" if self.more else self.text

    def _within(self, level: int) -> str:
        """Its text as an operand of an operator that binds like ``level``."""
        return f"({self})" if min(self.level, _SUM if self.more else _ATOM) < level else str(self)

    def _join(self, sign: str, other, level: int) -> "Term":
        return Term(f"{self._within(level)} {sign} {_term(other)._within(level + (level != _OR and level != _AND))}",
                    level)

    def __add__(self, other):
        if isinstance(other, int):
            return Term(self.text, self.level, self.more + other)
        first, second = (Term(term.text, term.level)._within(_SUM) for term in (self, other))
        return Term(f"{first} + {second}", _SUM, self.more + other.more)

    __radd__ = __add__

    def __sub__(self, other):
        return self + -other if isinstance(other, int) else self._join("-", other, _SUM)

    def __mul__(self, other):
        return 0 if other == 0 and isinstance(other, int) else self._join("*", other, _PRODUCT)

    __rmul__ = __mul__

    def __floordiv__(self, other: int):
        return Term(f"{self._within(_PRODUCT)} / {other}", _PRODUCT)

    def __rshift__(self, places: int):
        if self.codes and issubclass(self.codes, enum.Flag):
            return _term(self.codes(1 << places))
        if not places:
            return self
        by = 1 << places
        if self.more == by - 1:
            return Term(f"ceil({self.text} / {by})")
        return Term(f"floor({self._within(_PRODUCT)} / {by})")

    def __and__(self, other):
        if isinstance(other, int) or str(other) == str(self):
            return self if not isinstance(other, int) or other else 0
        return self._join("and", other, _AND)

    __rand__ = __and__

    def __or__(self, other):
        return self._join("or", other, _OR)

    __ror__ = __or__

    def __eq__(self, other):
        return self._join("=", other, _COMPARISON)

    def __ne__(self, other):
        return self._join("!=", other, _COMPARISON)

    def __lt__(self, other):
        return self._join("<", other, _COMPARISON)

    def __gt__(self, other):
        return self._join(">", other, _COMPARISON)

    def __ge__(self, other):
        return self._join(">=", other, _COMPARISON)


def _term(value) -> Term:
    if isinstance(value, Term):
        return value
    return Term(value.name if isinstance(value, enum.Enum) else str(value))


def _pick(condition, yes, no):
    """A choice as text, or the chosen side where the condition is known."""
    if not isinstance(condition, Term):
        return yes if condition else no
    return Term(f"{_term(yes)} if {condition} else {_term(no)}" if no != 0 or isinstance(no, Term)
                else f"{_term(yes)} if {condition}", _CHOICE)


def table(head: list[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def instructions() -> str:
    """Every instruction: meaning, unit, fields with their bit positions and limits, stream lines, address ranges."""
    return "\n\n".join(_instruction(record) for record in INSTRUCTIONS.values())


def _instruction(record: Instruction) -> str:
    parts = [f"**{record.opcode.name}** (opcode {int(record.opcode)}, "
             f"{f'unit {record.unit.name}' if record.unit else 'sequencer'}). {record.about}"]
    if record.fields:
        parts.append(table(["bits", "field", "meaning", "limits"], [
            [_bits(record.word, field.name), field.name, field.about, "..".join(map(str, record.limits.get(
                field.name, ())))] for field in record.fields]))
    if lines := _stream(record):
        parts.append(lines)
    if ranges := _ranges(record):
        parts.append(table(["memory", "when", "first", "last", "access"], ranges))
    return "\n\n".join(parts)


def _bits(word: Word, name: str) -> str:
    low = word.offsets[name]
    width = next(field.width for field in word.fields if field.name == name)
    return f"{low + width - 1}:{low}" if width > 1 else str(low)


def _fields(record: Instruction, **known: int) -> dict:
    terms = {field.name: Term(field.name, codes=field.codes) for field in record.fields}
    return terms | {name: value for name, value in known.items() if name in terms}


def _stream(record: Instruction) -> str:
    """Lines of the weight stream, a sentence; also those with stream beats of two lines, where they are others."""
    one, two = _lines(record, ZCU102), _lines(record, U280)
    if not one:
        return ""
    return f"Weight stream: {one}." if one == two else f"Weight stream: {one}. With stream beats of two lines: {two}."


def _lines(record: Instruction, machine: MachineConfig) -> str:
    used = record.stream(_fields(record, reuse_weights=0, packed=0, class_scores=0), machine)
    each = f"`{used.times}` times " if isinstance(used.times, Term) else ""
    parts = (f"`{segment.lines}` line{'s' * (str(segment.lines) != '1')} for {segment.destination.name}"
             for segment in used.segments)
    return f"{each}{', then '.join(parts)}"


def _ranges(record: Instruction) -> list[list[str]]:
    """Rows, tiles and entries that it uses; those of a LINEAR for DIRECT tokens."""
    fields = _fields(record, src_index=Index.DIRECT, dst_index=Index.DIRECT)
    state = ProgramState(**{name: Term(name) for name in ("left", "experts", "named", "slots", "entries", "held")})
    found = record.ranges(fields | record.derived(fields, _pick), state, _pick)
    return [[used.resource.name, f"`{used.when}`" if isinstance(used.when, Term) else "always", f"`{used.base}`",
             f"`{used.end - 1}`", _access(used)] for used in found]


def _access(used: AddressRange) -> str:
    if used.resource not in MEMORIES:
        return "use"
    if isinstance(used.updates, Term):
        return f"write; read where `{used.updates}`"
    return "write" if used.write else "read"
