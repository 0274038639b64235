# SPDX-License-Identifier: Apache-2.0
"""Random programs that hold an instruction of a given class of :mod:`sim.coverage.functional`."""

from dataclasses import replace

import hypothesis
from hypothesis import strategies as st

from golden.spec.isa import Dest, Memory
from golden.spec.legality import ProgramState
from golden.spec.machine import NANO, MachineConfig
from sim.coverage.functional import PACKED, WIDE, class_of
from tests.fuzz.programs import Grammar, Instruction, accepted

ATTEMPTS = 20
"""Groups that are drawn until one is legal and of the class."""
Name = tuple[str, str, str]


def _pinned(name: Name) -> dict[str, int]:
    """Values of the fields that make the class."""
    opcode, destination, width = name
    wide = int(width.startswith(WIDE))
    if opcode == "LINEAR":
        return {"dst": Dest[destination.split()[0]], "src_wide": wide, "packed": int(width.endswith(PACKED)),
                "reuse_weights": int(destination.endswith("reuse"))}
    if opcode == "ATTENTION":
        scores = destination.startswith("RESIDUAL")
        return {"class_scores": int(scores), "wide_p": int(WIDE in destination), "wide": wide}
    if opcode == "NORM":
        return {"wide": wide, "normalized": int(destination.endswith("normalized"))}
    if opcode == "GATE":
        return {"append": int(destination == "append")}
    return {"memory": Memory[destination]} if opcode in ("LOAD", "STORE") else {}


def _group(grammar: Grammar, name: Name) -> list[Instruction]:
    """Instructions among which one should be of the class; not all of these are legal."""
    opcode, destination, _ = name
    state = ProgramState()
    if opcode in ("GATE", "EXPERTS") or destination.startswith("GATE"):
        return grammar.moe(state)
    if opcode != "LINEAR":
        return [getattr(grammar, opcode.lower())()]
    if destination.endswith("window"):
        return [grammar.window(state)]
    if not destination.endswith("reuse"):
        return [grammar.linear(state)]
    first = replace(grammar, pinned=grammar.pinned | {"reuse_weights": 0, "retain_weights": 1}).linear(state)
    held = accepted([first], state, grammar.machine)
    return [first, grammar.linear(held)] if held else []


@st.composite
def programs_of(draw, name: Name, machine: MachineConfig = NANO) -> list[Instruction]:
    """Loads, then a group with an instruction of class ``name``; without BEGIN, the last stores and END."""
    loads = [Grammar(draw, machine).load() for _ in range(draw(st.integers(1, 4)))]
    if name[0] in ("BEGIN", "END"):  # every program has them
        return loads
    grammar = Grammar(draw, machine, _pinned(name))
    for _ in range(ATTEMPTS):
        group = _group(grammar, name)
        if name in {class_of(*instruction) for instruction in group} and accepted(group, ProgramState(), machine):
            return [*loads, *group]
    hypothesis.reject()
