# SPDX-License-Identifier: Apache-2.0
"""Retains weights in the ring that a later LINEAR uses again, so that a cut does not read them from DRAM twice.

Buffer liveness on a queue: weights enter the ring in program order and leave it from the oldest on. A LINEAR that loads
its weights and retains nothing empties the ring; one that uses retained weights again releases all up to its own. A
reuse is accepted if the ring can hold what lies between its two LINEARs and is empty again where it must be, before
EXPERTS and at the end; the largest are tried first. Results are the same to the bit.

    Q of A   K, V     PROJ of A   gate of A   Q of B   PROJ of B   gate of B
    retain   retain   retain      retain      reuse    reuse       reuse
"""

from dataclasses import dataclass, replace

from golden.spec.isa import Dest, Opcode
from golden.spec.machine import MachineConfig
from host.ir.nodes import Node
from host.ir.weight_ring import most_retained, stored, weights


def retain_weights(nodes: list[Node], machine: MachineConfig) -> list[Node]:
    """The program with retain_weights, reuse_weights and reuse_offset set in every LINEAR outside of EXPERTS, except
    where they are set already."""
    marked: dict[Node, dict] = {}
    run: list[Node] = []
    for node in (*nodes, None):
        if node is None or node.opcode is Opcode.EXPERTS:
            marked |= _mark(run, machine)
            run = []
        elif "retain_weights" in node.fields:  # of a task head, which retains what all of its strips use
            marked |= _mark(run, machine)
            run = []
        elif node.opcode is Opcode.LINEAR:
            run.append(node)
    return [replace(node, fields=node.fields | marked[node]) if node in marked else node for node in nodes]


def _mark(run: list[Node], machine: MachineConfig) -> dict[Node, dict]:
    """Fields of the LINEARs between two places where nothing may be retained."""
    accepted: set[tuple[int, int]] = set()
    plan = _follow(run, accepted, machine)
    assert plan is not None, "A ring in which nothing is retained serves every program."
    for reuse in sorted(_reuses(run), key=lambda pair: (-weights(run[pair[0]]), pair)):
        found = _follow(run, accepted | {reuse}, machine)
        if found is not None:
            accepted, plan = accepted | {reuse}, found
    return dict(zip(run, plan, strict=True))


def _reuses(run: list[Node]) -> list[tuple[int, int]]:
    """Positions of LINEARs that use the same weights, each pair in program order."""
    last: dict[tuple, int] = {}
    found = []
    for at, node in enumerate(run):
        window = node.payload, node.lines, node.fields["tiles"], node.fields["slices"]
        if window in last:
            found.append((last[window], at))
        last[window] = at
    return found


@dataclass
class _Block:
    """Weights in the ring: how many slices, and the position of the LINEAR that used them last."""

    size: int
    user: int


def _follow(run: list[Node], reuses: set[tuple[int, int]], machine: MachineConfig) -> list[dict] | None:
    """Fields of every LINEAR of ``run`` if the ring can serve ``reuses``, else None."""
    wanted, source = {first for first, _ in reuses}, {second: first for first, second in reuses}
    ring: list[_Block] = []
    fields = []
    for at, node in enumerate(run):
        retained, reuse = sum(block.size for block in ring), at in source
        if reuse:
            place = next(i for i, block in enumerate(ring) if block.user == source[at])
            ring[place].user = at
        else:
            place = len(ring)
            ring.append(_Block(weights(node), at))
        retain = any(block.user in wanted for block in ring[:place + 1])
        fields.append({"retain_weights": int(retain), "reuse_weights": int(reuse),
                       "reuse_offset": sum(block.size for block in ring[:place]) if reuse else 0})
        if reuses and not reuse and retained + _space(node, retain) > machine.ring_slices:
            return None
        ring = ring if retain else ring[place + 1:]
        if sum(block.size for block in ring) > most_retained(machine) and reuses:
            return None
    return None if ring else fields


def _space(node: Node, retain: bool) -> int:
    """Slices that the ring must have free for a LINEAR: a tile's, or all where they stay until it ends."""
    return weights(node) if retain or node.dest is Dest.GATE else stored(node.fields)
