# SPDX-License-Identifier: Apache-2.0
"""Wait fields: the units that an instruction must wait for, by true dependences only, so that all else overlaps."""

from golden.spec.isa import FORMATS, Opcode
from golden.spec.program.hazards import needed_waits
from host.ir.nodes import Node, flat


def set_waits(nodes: list[Node]) -> None:
    """Fill in every ``wait``; regions have their addresses."""
    steps = flat(nodes)
    program = [(node.opcode, {field.name: 0 for field in FORMATS[node.opcode].fields} | node.numbers) for node in steps]
    for node, wait in zip(steps, needed_waits(program), strict=True):
        node.wait = wait


def independent(nodes: list[Node]) -> int:
    """Number of instructions that wait for no unit, a measure of overlap."""
    return sum(not node.wait for node in nodes if node.opcode not in (Opcode.BEGIN, Opcode.END))
