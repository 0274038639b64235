# SPDX-License-Identifier: Apache-2.0
"""Bounds check: refuses instructions with contradictory fields or rows beyond a memory, before the program runs."""

from dataclasses import replace

from golden.iss.faults import check
from golden.spec.isa import Opcode
from golden.spec.legality import ProgramState, after, capacity, contradictions, derived, ranges
from golden.spec.machine import MachineConfig
from golden.spec.status import Status


class BoundsCheck:
    """Bounds check of one program: called with its instructions in order, each within ``isa.LIMITS``."""

    def __init__(self, config: MachineConfig):
        self.config, self.state = config, ProgramState()

    def __call__(self, position: int, opcode: Opcode, fields: dict, body: bool) -> None:
        """Raise :class:`golden.iss.IssFault` with BAD_FIELD or RANGE_LOCAL; ``body``: the instruction is in
        a body of EXPERTS."""
        f, state = fields | derived(opcode, fields), replace(self.state, body=body)
        for number, condition in enumerate(contradictions(opcode, f, state)):
            check(not condition, Status.BAD_FIELD, position, f"{opcode.name}: contradiction {number}")
        used = [r for r in ranges(opcode, f, state) if r.when]
        first, second = ([r for r in used if r.slot == slot] for slot in (0, 1))
        for a, b in zip(first, second, strict=False):  # at most one of each
            check(not meet(a, b), Status.BAD_FIELD, position,
                  f"{opcode.name} uses {a.resource.name.lower()} rows {a.base}..{a.end - 1} and {b.base}..{b.end - 1}")
        for r in used:
            size = capacity(self.config, r.resource)
            check(r.end <= size, Status.RANGE_LOCAL, position,
                  f"{opcode.name} reaches row {r.end - 1} of {size}: {r.resource.name.lower()}")
        self.state = after(opcode, f, state)


def meet(a, b) -> bool:
    """Whether two ranges, from first to last row, overlap in one memory."""
    return a.resource == b.resource and a.base < b.end and b.base < a.end
