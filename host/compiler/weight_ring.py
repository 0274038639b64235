# SPDX-License-Identifier: Apache-2.0
"""The weight ring as the compiler counts it: what a LINEAR reads from the stream, and what may be retained."""

from golden.spec.machine import PARAM_LINES, MachineConfig
from golden.spec.tiling import linear_lines
from host.compiler.ir import Node

SHARE = 2
"""Of the ring one part in so many may be retained; the rest is read ahead of the array."""


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
