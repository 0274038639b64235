# SPDX-License-Identifier: Apache-2.0
"""Intermediate representation: on-chip regions without addresses yet, and instructions that name them."""

import enum
from dataclasses import dataclass, field

from golden.spec.isa import UNIT, Dest, Opcode, Unit


class NotFitting(ValueError):
    """A model that this machine cannot hold; the sentence names the memory, the need and the excess."""


class Memory(enum.Enum):
    """What holds a region: operand and residual rows of 64 bytes, K and V tiles, the expert queues."""

    OPERAND = "operand memory"
    RESIDUAL = "residual memory"
    KEY = "K memory"
    VALUE = "V memory"
    QUEUE = "expert queues"


@dataclass(eq=False)
class Region:
    """``count`` groups (tokens; tiles for K and V) of ``rows`` rows and ``planes`` byte planes; ``base`` is found by
    ``allocate``. ``elastic``: as large as the machine allows, and useful if smaller."""

    name: str
    memory: Memory
    count: int
    rows: int
    planes: int = 1
    base: int | None = None
    elastic: bool = False

    @property
    def stride(self) -> int:
        """Rows from group to group."""
        return self.rows * self.planes

    @property
    def size(self) -> int:
        return self.count * self.stride

    @property
    def wide(self) -> bool:
        return self.planes == 2

    @property
    def first_row(self) -> int:
        """``base`` of a region that ``allocate`` has placed."""
        assert self.base is not None, f"{self.name} has no address yet."
        return self.base

    def interval(self, first: int, count: int) -> tuple[int, int]:
        """Rows [start, end) of groups ``first`` ..."""
        return self.first_row + first * self.stride, self.first_row + (first + count) * self.stride


@dataclass(frozen=True)
class Row:
    """An address to be filled in: row ``extra`` of group ``first`` of a region."""

    region: Region
    first: int = 0
    extra: int = 0

    @property
    def address(self) -> int:
        return self.region.first_row + self.first * self.region.stride + self.extra

    def moved(self, groups: int, rows: int = 0) -> "Row":
        """The address ``groups`` groups and ``rows`` rows further."""
        return Row(self.region, self.first + groups, self.extra + rows)


@dataclass(frozen=True)
class Access:
    """Groups [first, first + count) of a region that an instruction reads or writes; all of it by default."""

    region: Region
    first: int = 0
    count: int | None = None

    @property
    def interval(self) -> tuple[int, int]:
        return self.region.interval(self.first, self.region.count if self.count is None else self.count)


@dataclass(eq=False)
class Node:
    """One instruction before addresses and ``wait`` are known.

    ``fields`` holds numbers and :class:`Row`; ``payload`` names its part of the weight stream, of which it uses what
    begins at ``lines``; ``macs`` counts useful multiply-accumulates; ``tokens`` how many tokens pass (the balanced mean
    a queue inside EXPERTS, in ``passes`` passes); ``body`` is what EXPERTS repeats; ``whole``: nothing is gained by
    cutting it.
    """

    opcode: Opcode
    name: str
    fields: dict = field(default_factory=dict)
    reads: tuple[Access, ...] = ()
    writes: tuple[Access, ...] = ()
    payload: str | None = None
    lines: int = 0
    macs: int = 0
    tokens: float = 0
    passes: int = 1
    body: tuple["Node", ...] = ()
    whole: bool = False
    wait: Unit = Unit(0)

    @property
    def unit(self) -> Unit:
        """The unit that executes it; none for BEGIN, EXPERTS and END."""
        return UNIT.get(self.opcode, Unit(0))

    @property
    def numbers(self) -> dict[str, int]:
        """Its fields with addresses filled in; regions have theirs."""
        return {name: value.address if isinstance(value, Row) else int(value) for name, value in self.fields.items()}

    @property
    def dest(self) -> Dest | None:
        return Dest(self.fields["dst"]) if self.opcode is Opcode.LINEAR else None


def flat(nodes: list[Node]) -> list[Node]:
    """Program order: the body of an EXPERTS directly after it."""
    return [n for node in nodes for n in (node, *node.body)]
