# SPDX-License-Identifier: Apache-2.0
"""Wait fields: the units that an instruction must wait for, by true dependences only, so that all else overlaps."""

from golden.spec.isa import Opcode, Unit
from host.ir.nodes import Access, Memory, Node


def _overlap(a: Access, b: Access) -> bool:
    if a.region.memory is not b.region.memory:
        return False
    if a.region.memory is Memory.QUEUE:  # there is one set of queues, which a GATE empties as a whole
        return True
    (a_start, a_end), (b_start, b_end) = a.interval, b.interval
    return a_start < b_end and b_start < a_end


class _Pending:
    """Accesses issued to each unit since an instruction last waited for it."""

    def __init__(self):
        self.reads: dict[Unit, list[Access]] = {unit: [] for unit in Unit}
        self.writes: dict[Unit, list[Access]] = {unit: [] for unit in Unit}

    def needs(self, node: Node) -> Unit:
        """Units whose unfinished work ``node`` must wait for.

        Instructions of one unit run in order: its reads precede the next one's reads, its writes the next one's
        writes. What is left inside a unit is reading what an earlier instruction has not written yet; residual rows
        that a LINEAR accumulates into are read where they are written, after the array, and so keep their order too.
        """
        wait = Unit(0)
        for unit in Unit:
            hazard = any(_overlap(r, w) for r in node.reads for w in self.writes[unit]
                         if not (unit is node.unit is Unit.ARRAY and r.region.memory is Memory.RESIDUAL))
            if unit is not node.unit:
                hazard |= any(_overlap(w, other) for w in node.writes
                              for other in (*self.reads[unit], *self.writes[unit]))
            if hazard:
                wait |= unit
        return wait

    def issue(self, node: Node, wait: Unit) -> None:
        for unit in wait:
            self.reads[unit].clear()
            self.writes[unit].clear()
        if node.unit:
            self.reads[node.unit] += node.reads
            self.writes[node.unit] += node.writes


def set_waits(nodes: list[Node]) -> None:
    """Fill in every ``wait``; regions have their addresses.

    The body of EXPERTS runs at least once (every token chooses an expert) and usually again: it is analysed twice.
    """
    pending = _Pending()
    for node in nodes:
        node.wait = pending.needs(node)
        pending.issue(node, node.wait)
        for step in node.body:
            step.wait = Unit(0)
        for step in (*node.body, *node.body):
            needed = pending.needs(step)
            step.wait |= needed
            pending.issue(step, needed)


def independent(nodes: list[Node]) -> int:
    """Number of instructions that wait for no unit, a measure of overlap."""
    return sum(not node.wait for node in nodes if node.opcode not in (Opcode.BEGIN, Opcode.END))
