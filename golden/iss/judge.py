# SPDX-License-Identifier: Apache-2.0
"""Refuses instructions that contradict themselves or reach beyond a memory, before the program runs."""

from dataclasses import replace

from golden.iss.faults import check
from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from golden.spec.reach import Routing, behind, contradictions, depth, derived, spans
from golden.spec.status import Status


class Judge:
    """Looks at the instructions of one program in order, each of which must be inside ``isa.LIMITS``."""

    def __init__(self, config: MachineConfig):
        self.config, self.routing = config, Routing()

    def __call__(self, position: int, opcode: Opcode, fields: dict, body: bool) -> None:
        """Raise :class:`golden.iss.IssFault` with BAD_FIELD or RANGE_LOCAL; ``body``: it stands in one of EXPERTS."""
        f, routing = fields | derived(opcode, fields), replace(self.routing, body=body)
        for number, condition in enumerate(contradictions(opcode, f, routing)):
            check(not condition, Status.BAD_FIELD, position, f"{opcode.name}: contradiction {number}")
        for span in spans(opcode, f, routing):
            beyond, size = span.base + span.steps * span.stride + span.count, depth(self.config, span.store)
            check(not span.when or beyond <= size, Status.RANGE_LOCAL, position,
                  f"{opcode.name} reaches row {beyond - 1} of {size}: {span.store.name.lower()}")
        self.routing = behind(opcode, f, routing)
