# SPDX-License-Identifier: Apache-2.0
"""Cost of an instruction: cycles in its unit and bytes from or to DRAM."""

from dataclasses import dataclass

from golden.spec.isa import Opcode, stream_lines
from golden.spec.machine import LINE, MachineConfig
from host.ir.nodes import Node
from host.performance.cycles import CYCLES


@dataclass(frozen=True)
class Cost:
    """Cycles in the unit that executes, without waiting for others; bytes of weights, or of LOAD and STORE."""

    cycles: float
    bytes: float = 0


def estimate(node: Node, machine: MachineConfig) -> Cost:
    """Cost of one node; a body's node is counted for all its passes, what the sequencer executes itself for nothing."""
    rows = node.fields["rows"] if node.opcode in (Opcode.LOAD, Opcode.STORE) else 0
    lines = stream_lines(node.opcode, node.fields, machine).lines + rows
    cycles = CYCLES[node.opcode](machine, node.fields, node.tokens) if node.opcode in CYCLES else 0
    return Cost(node.passes * cycles, node.passes * lines * LINE)
