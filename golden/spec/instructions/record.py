# SPDX-License-Identifier: Apache-2.0
"""Instruction record: everything that is to be known about one instruction, as data and as formulas on its fields.

The formulas of :data:`STAGES`, ``contradictions`` and ``ranges`` are arithmetic on fields that are plain integers for
the simulator and signals for the gateware, so that both refuse the same programs; therefore no ``if``, no ``max`` and
no ``and`` on them: ``pick(condition, yes, no)`` chooses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from golden.spec.instructions.codes import MEMORIES, STREAM_BITS, Destination, Edge, Opcode, Resource, Unit
from golden.spec.instructions.words import Field, Word
from golden.spec.machine import MachineConfig

INSTRUCTION_BYTES = 32
HEAD = (Field("opcode", 4, "instruction format"), Field("wait", 4, "units that must be empty first"))
"""Fields that every instruction begins with."""
STREAM = Field("stream", STREAM_BITS,
               "first 64-byte line of this instruction's parameters and weights in the weight stream")
STAGES = ("extents", "products", "totals")
"""Formulas for what is derived from the fields, each of them a sum or a product of fields and of what the ones before
it gave; the gateware computes one a cycle."""
Number = Any
"""An integer for the simulator and the compiler, an Amaranth value for the gateware, whose types are unknown here."""


@dataclass(frozen=True)
class AddressRange:
    """Where ``when`` holds, the instruction uses ``base`` to ``base + steps * stride + count - 1`` of ``resource``.

    Ranges of an instruction with the same ``slot`` exclude each other; those of slots 0 and 1 must not overlap in
    one resource. ``write``: the instruction changes it; ``updates``: where it does, it also reads it, in the epilogue.
    """

    slot: int
    resource: Resource
    when: Number = True
    base: Number = 0
    steps: Number = 0
    stride: Number = 0
    count: Number = 0
    write: bool = False
    updates: Number = False

    @property
    def end(self):
        """First row after the range."""
        return self.base + self.steps * self.stride + self.count


@dataclass(frozen=True)
class Use:
    """Rows [first, end) of a resource that an instruction reads or writes; ``late``: read by the epilogue."""

    resource: Resource
    first: int
    end: int
    write: bool
    late: bool = False

    def meets(self, other: "Use") -> bool:
        """Whether they share a row."""
        return self.resource is other.resource and self.first < other.end and other.first < self.end


READS_QUEUES = Use(Resource.QUEUES, 0, 1, write=False)
WRITES_QUEUES = Use(Resource.QUEUES, 0, 1, write=True)
"""All expert queues, as one row: a GATE empties them together."""


@dataclass(frozen=True)
class Segment:
    """Consecutive lines of the weight stream with one destination; ``skipped``: they are passed over, not read."""

    destination: Destination
    lines: int
    skipped: bool = False


@dataclass(frozen=True)
class StreamLines:
    """Lines of the weight stream that an instruction uses: ``segments``, one after the other, ``times`` times."""

    segments: tuple[Segment, ...] = ()
    times: int = 1

    @property
    def lines(self) -> int:
        """Lines that are read."""
        return self.times * sum(segment.lines for segment in self.segments if not segment.skipped)

    @property
    def pitch(self) -> int:
        """Lines from one time to the next, skipped ones included."""
        return sum(segment.lines for segment in self.segments)


@dataclass(frozen=True, kw_only=True)
class ProgramState:
    """State that an instruction starts from: ``left`` tokens the gate still waits for and its ``experts``;
    one more than the highest token that a queue can name (``named``), the most entries that a queue (``slots``) and
    all together (``entries``) can have; slices of weights retained in the ring (``held``); whether the instruction
    is in a ``body`` of EXPERTS."""

    left: Number = 0
    experts: Number = 0
    named: Number = 0
    slots: Number = 0
    entries: Number = 0
    held: Number = 0
    body: Number = False


def choose(condition, yes, no):
    """``yes`` where ``condition`` holds, else ``no``: for integers; the gateware passes a multiplexer instead."""
    return yes if condition else no


def _nothing(f, pick=choose) -> dict:
    return {}


def _never(f, s: ProgramState, pick=choose) -> list:
    return []


def _unchanged(f, s: ProgramState) -> dict:
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Instruction:
    """One instruction of the instruction set.

    ``about``: its meaning. ``unit`` executes it; the sequencer itself does where there is none. ``fields`` follow
    :data:`HEAD`; the machine refuses values outside of the inclusive ``limits`` with BAD_FIELD. ``waits``: units that
    it waits for, whatever its ``wait`` says. ``in_body``: whether a body of EXPERTS may contain it; else BAD_OPCODE.

    Formulas on the fields ``f``, derived ones included, and on the program's state ``s``:

    ``extents(f, pick)``, ``products(f, pick)``, ``totals(f, pick)``: :data:`STAGES`, further fields for the others.
    ``contradictions(f, s, pick)``: conditions that must all be false whatever the memory sizes; otherwise BAD_FIELD.
    ``ranges(f, s, pick)``: everything that it uses; RANGE_LOCAL beyond a capacity, BAD_FIELD where slots 0 and 1
    overlap. ``changes(f, s)``: what it changes of the state, integers only. ``queues(f)``: its uses of the expert
    queues. ``stream(f)``: lines of the weight stream.
    """

    opcode: Opcode
    about: str
    fields: tuple[Field, ...] = ()
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    unit: Unit = Unit(0)
    waits: Unit = Unit(0)
    in_body: bool = True
    extents: Callable[..., dict] = _nothing
    products: Callable[..., dict] = _nothing
    totals: Callable[..., dict] = _nothing
    contradictions: Callable[..., list] = _never
    ranges: Callable[..., list[AddressRange]] = _never
    changes: Callable[[dict, ProgramState], dict] = _unchanged
    queues: Callable[[dict], tuple[Use, ...]] = lambda f: ()
    stream: Callable[[Mapping[str, int], MachineConfig], StreamLines] = lambda f, machine: StreamLines()

    @cached_property
    def word(self) -> Word:
        """Layout of its 256 bits. Fields that do not apply are zero."""
        return Word(self.opcode.name, [*HEAD, *self.fields], total=8 * INSTRUCTION_BYTES)

    @property
    def streams(self) -> bool:
        """Whether it has a place in the weight stream."""
        return STREAM in self.fields

    @property
    def stages(self) -> tuple[Callable[..., dict], ...]:
        """Its formulas of :data:`STAGES`."""
        return self.extents, self.products, self.totals

    def derived(self, f: dict, pick=choose) -> dict:
        """Fields that are derived from the fields ``f``."""
        found = {}
        for stage in self.stages:
            found |= stage(f | found, pick)
        return found

    def uses(self, fields: dict, state: ProgramState) -> list[Use]:
        """Rows of the on-chip memories that it can read and write, and the expert queues, as one row; integers only."""
        f = fields | self.derived(fields)
        used = [r for r in self.ranges(f, state) if r.when and r.resource in MEMORIES]
        return ([Use(r.resource, r.base, r.end, r.write) for r in used]
                + [Use(r.resource, r.base, r.end, write=False, late=True) for r in used if r.updates]
                + list(self.queues(f)))

    def reads(self, fields: dict, state: ProgramState) -> list[Use]:
        """Its :meth:`uses` that read."""
        return [use for use in self.uses(fields, state) if not use.write]

    def writes(self, fields: dict, state: ProgramState) -> list[Use]:
        """Its :meth:`uses` that write."""
        return [use for use in self.uses(fields, state) if use.write]


def round_up(value, by: int):
    """``value / by`` rounded up, ``by`` a power of two."""
    return (value + by - 1) >> by.bit_length() - 1


def round_down(value, by: int):
    """``value / by`` rounded down, ``by`` a power of two."""
    return value >> by.bit_length() - 1


def crowded(several, stride, rows, wide, plane, pick):
    """Operand rows of several tokens, ``stride`` apart, overlap, or a token's planes do."""
    return several & (stride < rows + pick(wide, plane, 0)) | wide & (plane < rows)


def edge_bits(f) -> tuple:
    """1 for each side, TOP, BOTTOM, LEFT and RIGHT, on which a strip ends with the map, else 0."""
    return tuple(f["edges"] >> edge.bit_length() - 1 & 1 for edge in Edge)
