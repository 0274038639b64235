# SPDX-License-Identifier: Apache-2.0
"""Tile blocks: output tiles that share a token group's operand rows, where the array would wait for these.

The array takes ``slices * steps`` cycles for a tile of a group, whose operand rows come one a cycle: tm / 4 rows for
each slice. Where that is more than the steps of a slice, several tiles are computed while a group is in the lane
buffers; their weights must be in the ring together.
"""

from dataclasses import replace

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from host.ir.nodes import Node
from host.performance.cycles import best_block


def tile_blocks(nodes: list[Node], machine: MachineConfig) -> list[Node]:
    """The program with the field ``block`` set in every LINEAR, in bodies too."""
    return [_with_block(replace(node, body=tuple(_with_block(inner, machine) for inner in node.body)), machine)
            if node.body else _with_block(node, machine) for node in nodes]


def _with_block(node: Node, machine: MachineConfig) -> Node:
    if node.opcode is not Opcode.LINEAR:
        return node
    block = best_block(machine, node.fields)
    return replace(node, fields=node.fields | {"block": block}) if block else node
