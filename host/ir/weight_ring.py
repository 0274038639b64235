# SPDX-License-Identifier: Apache-2.0
"""Weight-ring accounting: what a LINEAR reads from the weight stream, and how many weights may be retained."""

from golden.spec.isa import Opcode, stream_lines
from golden.spec.machine import MachineConfig
from host.ir.nodes import Node

SHARE = 2
"""One part in this many of the ring may be retained; the rest is left for prefetching."""


def most_retained(machine: MachineConfig) -> int:
    """Most slices of weights that are retained at a time."""
    return machine.ring_slices // SHARE


def stored(fields: dict) -> int:
    """Slices of the ring that the weights of one output tile take."""
    return fields["slices"] >> fields.get("packed", 0)


def weights(node: Node) -> int:
    """Slices of the ring that the weights of a LINEAR take."""
    return node.fields["tiles"] * stored(node.fields)


def lines_again(tiles: int, slices: int, machine: MachineConfig, packed: int = 0) -> int:
    """Lines that come a second time when a LINEAR is cut into two over the same tiles."""
    fields = {"tiles": tiles, "slices": slices, "packed": packed,
              "reuse_weights": tiles * (slices >> packed) <= most_retained(machine)}
    return stream_lines(Opcode.LINEAR, fields, machine).lines
