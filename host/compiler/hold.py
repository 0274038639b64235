# SPDX-License-Identifier: Apache-2.0
"""Keeps weights in the ring that a later LINEAR wants again, so that no cut makes them come from DRAM twice.

    Q of A, K, V, PROJ of A, gate of A, Q of B, PROJ of B, gate of B
    hold    hold     hold       hold     again    again      again, and all of them are given back

Weights leave the ring in the order in which they came, so whatever comes between is held too. Results are the same to
the bit.
"""

from golden.spec.isa import Opcode
from golden.spec.machine import PARAM_LINES, MachineConfig
from golden.spec.tiling import linear_lines
from host.compiler.nodes import Node

SHARE = 2
"""Of the ring one part in so many may be held; the rest runs ahead of the array."""

_Window = tuple[str | None, int, int]


def may_hold(machine: MachineConfig) -> int:
    """Most slices of weights that are held at a time."""
    return machine.ring_rows // machine.steps // SHARE


def weights(node: Node) -> int:
    """Slices of weights that a LINEAR uses."""
    return node.fields["tiles"] * node.fields["slices"]


def stream_lines(fields: dict) -> int:
    """Lines that a LINEAR takes from the stream."""
    tiles = fields["tiles"]
    return tiles * PARAM_LINES if fields.get("again") else linear_lines(tiles, fields["slices"])


def lines_again(tiles: int, slices: int, machine: MachineConfig) -> int:
    """Lines that come a second time when a LINEAR is cut into two over the same tiles."""
    return stream_lines({"tiles": tiles, "slices": slices, "again": tiles * slices <= may_hold(machine)})


def hold_weights(nodes: list[Node], machine: MachineConfig) -> None:
    """Set ``hold``, ``again`` and ``back`` of every LINEAR outside of EXPERTS, where nothing may be held."""
    run: list[Node] = []
    for node in nodes:
        if node.opcode is Opcode.LINEAR:
            run.append(node)
        elif node.opcode is Opcode.EXPERTS:
            _mark(run, may_hold(machine))
            run = []
    _mark(run, may_hold(machine))


def _window(node: Node) -> _Window:
    """Which weights: a payload, where in it, how many tiles."""
    return node.payload, node.lines, node.fields["tiles"]


def _mark(run: list[Node], most: int) -> None:
    held: dict[_Window, int] = {}  # where in the ring, counted from the oldest held
    end = 0
    for at, node in enumerate(run):
        window, own = _window(node), weights(node)
        again = window in held
        back = held[window] if again else 0
        known = held | ({} if again else {window: end})
        end += 0 if again else own
        hold = _wanted(run[at + 1:], known, end, most)
        node.fields |= {"hold": int(hold), "again": int(again), "back": back}
        if hold:
            held = known
        elif again:
            gone = back + own
            held, end = {key: first - gone for key, first in held.items() if first >= gone}, end - gone
        else:
            held, end = {}, 0


def _wanted(later: list[Node], held: dict[_Window, int], end: int, most: int) -> bool:
    """Whether a later LINEAR uses held weights before more than ``most`` slices are held."""
    seen = set(held)
    for node in later:
        if end > most:
            return False
        window = _window(node)
        if window in held:
            return True
        if window not in seen:
            seen.add(window)
            end += weights(node)
    return False
