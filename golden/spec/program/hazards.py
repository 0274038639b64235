# SPDX-License-Identifier: Apache-2.0
"""Hazard analysis: the units that an instruction must wait for, from the address ranges of a program's instructions.

Units run in parallel, each its own instructions in order: its reads precede the next one's reads, its writes the next
one's writes. The only hazard left inside a unit is read-after-write. Residual rows that a LINEAR accumulates into are
exempt: they are read in the epilogue, where they are also written, and so keep their order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from golden.spec.instructions import INSTRUCTIONS
from golden.spec.instructions.record import Use
from golden.spec.isa import UNIT, Opcode, Unit
from golden.spec.legality import ProgramState, after, derived


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
    """Positions of instructions whose ``wait`` lacks units, and these units."""
    found: dict[int, Unit] = {}
    for at, wait, needed in follow(program):
        if missing := needed & ~wait:
            found[at] = found.get(at, Unit(0)) | missing
    return sorted(found.items())


def needed_waits(program: list[tuple[Opcode, dict]]) -> list[Unit]:
    """The least ``wait`` of each instruction, whatever waits it has."""
    found = [Unit(0) for _ in program]
    for at, _, needed in follow(program, given=False):
        found[at] |= needed
    return found


def follow(program: list[tuple[Opcode, dict]], *, given: bool = True) -> Iterator[tuple[int, Unit, Unit]]:
    """Each instruction in the order of execution: its position, the units that it waits for (its own ``wait`` if
    ``given``, else what it needs, and what it always waits for), and those that it needs to wait for.

    The body of EXPERTS is analysed twice: it runs at least once, since every token chooses an expert, and usually more
    often.
    """
    pending, state, position = Pending(), ProgramState(), 0

    def step(at: int, body: bool) -> tuple[int, Unit, Unit]:
        nonlocal state
        opcode, fields = program[at]
        record = INSTRUCTIONS[opcode]
        wanted = record.uses(fields, replace(state, body=body))
        needed = pending.must_wait(opcode, wanted)
        wait = (Unit(fields["wait"]) if given else needed) | record.waits
        pending.issue(opcode, wanted, wait)
        state = after(opcode, fields | derived(opcode, fields), state)
        return at, wait, needed

    while position < len(program):
        opcode, fields = program[position]
        yield step(position, False)
        position += 1
        if opcode is Opcode.EXPERTS:
            for _ in range(2 if state.entries else 0):  # without a GATE before it nothing runs
                for at in range(position, position + fields["body"]):
                    yield step(at, True)
            position += fields["body"]
