# SPDX-License-Identifier: Apache-2.0
"""Weight-ring accounting: what a LINEAR reads from the weight stream, and how many weights may be retained."""

from golden.spec.machine import PARAM_LINES, MachineConfig
from golden.spec.tiling import linear_lines
from host.ir.nodes import Node

SHARE = 2
"""One part in this many of the ring may be retained; the rest is left for prefetching."""


def ring_slices(machine: MachineConfig) -> int:
    """Slices of weights that the ring holds."""
    return machine.ring_rows // machine.steps


def most_retained(machine: MachineConfig) -> int:
    """Most slices of weights that are retained at a time."""
    return ring_slices(machine) // SHARE


def weights(node: Node) -> int:
    """Slices of weights that a LINEAR uses."""
    return node.fields["tiles"] * node.fields["slices"]


def stream_lines(fields: dict) -> int:
    """Lines that a LINEAR takes from the stream."""
    tiles = fields["tiles"]
    return tiles * PARAM_LINES if fields.get("reuse_weights") else linear_lines(tiles, fields["slices"])


def lines_again(tiles: int, slices: int, machine: MachineConfig) -> int:
    """Lines that come a second time when a LINEAR is cut into two over the same tiles."""
    return stream_lines({"tiles": tiles, "slices": slices, "reuse_weights": tiles * slices <= most_retained(machine)})
