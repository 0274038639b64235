# SPDX-License-Identifier: Apache-2.0
"""When each executed instruction was over: as a device that watches its units saw it, or by the performance model."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from golden.iss.trace import Entry
from golden.spec.isa import UNIT, Unit
from host.driver.errors import AccelError
from host.performance.spans import Span


@dataclass(frozen=True)
class Timed:
    """One executed instruction: in its unit from ``start`` to ``cycle``; ``waited``: cycles in which the array then
    stood still for weights, by the model."""

    entry: Entry
    start: float
    cycle: float
    waited: float = 0.0


def timed_by_model(entries: Iterable[Entry], spans: Iterable[Span]) -> list[Timed]:
    """What units execute, with the times of a timeline, in order of their ends."""
    found = {(span.index, span.expert): span for span in spans}
    own = [entry for entry in entries if entry.opcode in UNIT]
    timed = [Timed(entry, span.start, span.end, span.waited) for entry in own
             for span in [found[entry.index, entry.expert]]]
    return sorted(timed, key=lambda item: item.cycle)


def timed_by_device(entries: Iterable[Entry], ends: Sequence[tuple[int, int]], model: Iterable[Timed] = ()
                    ) -> list[Timed]:
    """What units execute, with the ``ends`` that a device saw: the unit and the cycle of each, in order. A unit ends
    its instructions in program order.

    An instruction begins with the end of the one before it in its unit, or in the program when that is later: an upper
    bound of its work, since a unit tells when an instruction ends and not when it begins. Waiting for weights is that
    of the ``model``. Raises AccelError where the device saw other instructions than ``entries``.
    """
    waited = {(item.entry.index, item.entry.expert): item.waited for item in model}
    due = {unit: deque(entry for entry in entries if UNIT.get(entry.opcode) == unit) for unit in Unit}
    ended: dict[int, int] = {}
    found, last = [], 0
    for unit, cycle in ends:
        if not due[Unit(unit)]:
            raise AccelError(f"The device saw an instruction of the unit {Unit(unit).name} that the program lacks.")
        entry = due[Unit(unit)].popleft()
        start = max(ended.get(unit, 0), min(last, cycle))
        found.append(Timed(entry, start, cycle, waited.get((entry.index, entry.expert), 0.0)))
        ended[unit] = last = cycle
    left = sum(map(len, due.values()))
    if left:
        raise AccelError(f"The device did not see {left} instructions of the program end.")
    return found
