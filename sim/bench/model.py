# SPDX-License-Identifier: Apache-2.0
"""Performance model against the simulated machine: whole frame, each kind of instruction, each instruction.

Units overlap, so an instruction's cycles are counted on its unit's own track: from the unit's latest retirement before
it to its own. Waiting for other units is part of that, in the machine and in the model alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from golden.spec.isa import Opcode
from host.performance.timeline import Span
from sim.trace import RETIRED_BY, Retired

LEAST_PART = 0.005
"""Part of the longest kind's cycles below which a kind is left out: COPY, which waits for the array's accesses to the
residual memory, takes 0.2 % of a job on four pictures."""

@dataclass(frozen=True)
class Step:
    """One instruction: cycles on its unit's track and the cycle of its end, measured and predicted."""

    opcode: Opcode
    index: int
    expert: int
    rtl: float
    model: float
    rtl_end: float
    model_end: float


def steps(retired: Sequence[Retired], spans: Sequence[Span]) -> list[Step]:
    """Every instruction that writes a memory, in order of retirement. GATE is left out: its time is its LINEAR's."""
    ends = {(span.index, span.expert): span.end for span in spans}
    before: dict[str, tuple[float, float]] = {}
    found = []
    for item in retired:
        entry, unit = item.entry, RETIRED_BY[item.entry.opcode]
        if entry.opcode is Opcode.GATE:
            continue
        rtl, model = before.get(unit, (0.0, 0.0))
        end = ends[entry.index, entry.expert]
        found.append(Step(entry.opcode, entry.index, entry.expert, item.cycle - rtl, end - model, item.cycle, end))
        before[unit] = item.cycle, end
    return found


def by_kind(found: Sequence[Step]) -> dict[Opcode, tuple[float, float]]:
    """Measured and predicted cycles of each kind of instruction."""
    kinds: dict[Opcode, tuple[float, float]] = {}
    for step in found:
        rtl, model = kinds.get(step.opcode, (0.0, 0.0))
        kinds[step.opcode] = rtl + step.rtl, model + step.model
    return kinds


def worst_kind(found: Sequence[Step]) -> tuple[Opcode, float]:
    """The kind that the model misses by most, and by how much of its cycles; of those that take a part of the job's
    time that is worth a model (:data:`LEAST_PART`)."""
    kinds = by_kind(found)
    least = LEAST_PART * max(rtl for rtl, _ in kinds.values())
    errors = {kind: abs(model / rtl - 1) for kind, (rtl, model) in kinds.items() if rtl >= least}
    kind = max(errors, key=errors.get)
    return kind, errors[kind]
