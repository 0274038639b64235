# SPDX-License-Identifier: Apache-2.0
"""Hazard analysis: the units that an instruction must wait for, from the address ranges of a program's instructions.

Units run in parallel, each its own instructions in order: its reads precede the next one's reads, its writes the next
one's writes. The only hazard left inside a unit is read-after-write. Residual rows that a LINEAR accumulates into are
exempt: they are read in the epilogue, where they are also written, and so keep their order.
"""

from dataclasses import dataclass, field, replace

from golden.spec.derived import derived
from golden.spec.isa import UNIT, Dest, Opcode, Unit
from golden.spec.legality import MEMORIES, AddressRange, ProgramState, Resource, after, queued, ranges


@dataclass(frozen=True)
class Use:
    """Rows [first, end) of a resource that an instruction reads or writes; ``late``: read by the epilogue."""

    resource: Resource
    first: int
    end: int
    write: bool
    late: bool = False

    def meets(self, other: "Use") -> bool:
        return self.resource is other.resource and self.first < other.end and other.first < self.end


_QUEUES = Use(Resource.QUEUES, 0, 1, False)
"""All expert queues, as one row: a GATE empties them together."""


def uses(opcode: Opcode, fields: dict, state: ProgramState) -> list[Use]:
    """Rows of the on-chip memories that an instruction can read and write. Expert queues count as one row."""
    f = fields | derived(opcode, fields)
    found = [_use(r) for r in ranges(opcode, f, state) if r.when and r.resource in MEMORIES]
    if opcode is Opcode.GATE:
        found.append(replace(_QUEUES, write=True))
    if opcode is Opcode.LINEAR:
        if f["accumulate"] and f["dst"] == Dest.RESIDUAL:
            found += [replace(use, write=False, late=True) for use in found if use.write]
        if queued(f):
            found.append(_QUEUES)
    return found


def _use(r: AddressRange) -> Use:
    return Use(r.resource, r.base, r.end, r.write)


@dataclass
class Pending:
    """Uses issued to each unit since an instruction last waited for that unit."""

    uses: dict[Unit, list[Use]] = field(default_factory=lambda: {unit: [] for unit in Unit})

    def must_wait(self, opcode: Opcode, wanted: list[Use]) -> Unit:
        """Units whose unfinished work conflicts with the uses ``wanted`` of an instruction."""
        own, found = UNIT.get(opcode, Unit(0)), Unit(0)
        for unit, issued in self.uses.items():
            for use in wanted:
                if any(use.meets(old) and _matters(use, old, own is unit) for old in issued):
                    found |= unit
        return found

    def issue(self, opcode: Opcode, wanted: list[Use], wait: Unit) -> None:
        """The instruction was issued after the units of ``wait`` had been empty."""
        for unit in Unit:
            if unit in wait:
                self.uses[unit].clear()
        if opcode in UNIT:
            self.uses[UNIT[opcode]] += wanted


def _matters(use: Use, old: Use, same_unit: bool) -> bool:
    """Whether two uses of one row, ``old`` by an earlier instruction, need a wait to keep their order."""
    if same_unit:
        return not use.write and old.write and not use.late
    return use.write or old.write


def hazards(program: list[tuple[Opcode, dict]]) -> list[tuple[int, Unit]]:
    """Positions of instructions whose ``wait`` lacks units, and these units. The body of EXPERTS is analysed twice: it
    runs at least once, since every token chooses an expert, and usually more often.
    """
    pending, state, found, position = Pending(), ProgramState(), {}, 0

    def step(at: int, body: bool) -> None:
        nonlocal state
        opcode, fields = program[at]
        now = replace(state, body=body)
        wanted, wait = uses(opcode, fields, now), Unit(fields["wait"])
        if missing := pending.must_wait(opcode, wanted) & ~wait:
            found[at] = found.get(at, Unit(0)) | missing
        pending.issue(opcode, wanted, wait)
        state = after(opcode, fields | derived(opcode, fields), state)

    while position < len(program):
        opcode, fields = program[position]
        step(position, False)
        position += 1
        if opcode is Opcode.EXPERTS:
            for _ in range(2 if state.entries else 0):  # without a GATE before it nothing runs
                for at in range(position, position + fields["body"]):
                    step(at, True)
            position += fields["body"]
    return sorted(found.items())
