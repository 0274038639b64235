# SPDX-License-Identifier: Apache-2.0
"""Self-check of the compiler: a finished program is legal on its machine and waits for everything it must wait for."""

from golden.iss.bounds_check import BoundsCheck
from golden.iss.faults import IssFault
from golden.spec import isa
from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from golden.spec.program.hazards import hazards


class CompilerError(RuntimeError):
    """The compiler made a program that its machine would refuse, or that lacks a wait: a defect of the compiler,
    not of the model."""


def defect(words: list[int], names: list[str], machine: MachineConfig) -> str | None:
    """What is wrong with a program, a sentence, or None. ``names`` of its instructions."""
    program = [isa.decode(word) for word in words]
    check, body = BoundsCheck(machine), 0
    for position, (opcode, fields) in enumerate(program):
        if wrong := isa.out_of_bounds(opcode, fields):
            return f"instruction {position} ({names[position]}): {wrong}"
        try:
            if opcode is not Opcode.BEGIN:
                check(position, opcode, fields, body > 0)
        except IssFault as fault:
            return f"{names[position]}: {fault}"
        body = fields["body"] if opcode is Opcode.EXPERTS else max(0, body - 1)
    for position, unit in hazards(program):
        return f"instruction {position} ({names[position]}) must wait for {unit.name}"
    return None
