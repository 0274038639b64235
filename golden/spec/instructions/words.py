# SPDX-License-Identifier: Apache-2.0
"""Packed words: ordered named bit fields with range checks."""

import enum
from dataclasses import dataclass

from golden.spec.model import ConfigError, require


@dataclass(frozen=True)
class Field:
    """``width`` bits called ``name``; two's complement when ``signed``. ``about`` is one sentence for the manual;
    ``codes`` name the values."""

    name: str
    width: int
    about: str = ""
    signed: bool = False
    codes: type[enum.IntEnum] | type[enum.IntFlag] | None = None

    def __post_init__(self):
        require(self.name.isidentifier(), f"A field name must be an identifier, not {self.name!r}.")
        require(self.width > 0, f"Field {self.name!r} must be at least one bit wide, not {self.width}.")

    @property
    def low(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.width - self.signed)) - 1


class Word:
    """A bit-packed record; the first field sits at bit 0.

    ``total`` pads the word with reserved bits that must be zero.
    """

    def __init__(self, name: str, fields: list[Field], total: int | None = None):
        names = [field.name for field in fields]
        require(len(set(names)) == len(names), f"Word {name!r} names a field twice: {names}.")
        used = sum(field.width for field in fields)
        require(total is None or used <= total, f"Word {name!r} needs {used} bits; it has {total}.")
        self.name, self.fields = name, tuple(fields)
        self.used, self.width = used, used if total is None else total
        self.offsets, offset = {}, 0
        for field in fields:
            self.offsets[field.name] = offset
            offset += field.width

    def pack(self, **values: int) -> int:
        """The word as an unsigned integer. Raises :class:`ConfigError` for a missing, unknown or unfitting value."""
        unknown = set(values) - set(self.offsets)
        require(not unknown, f"Word {self.name!r} has no field {sorted(unknown)}.")
        word = 0
        for field in self.fields:
            require(field.name in values, f"Word {self.name!r} needs a value for {field.name!r}.")
            value = int(values[field.name])
            require(field.low <= value <= field.high,
                    f"{self.name}.{field.name} must lie in {field.low}..{field.high}, not {value}.")
            word |= (value & ((1 << field.width) - 1)) << self.offsets[field.name]
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """The fields of ``word``. Raises :class:`ConfigError` when a reserved bit is set or the word is too long."""
        if word >> self.used:
            raise ConfigError(f"Word {self.name!r} has reserved bits set: 0x{word:x}.")
        values = {}
        for field in self.fields:
            value = (word >> self.offsets[field.name]) & ((1 << field.width) - 1)
            values[field.name] = value - (1 << field.width) if field.signed and value > field.high else value
        return values
