# SPDX-License-Identifier: Apache-2.0
"""Hazard recorder: finds instructions of a run that use rows which other units may still be working on.

:mod:`golden.spec.program.hazards` checks a program by what its instructions could access; this one records what they
did access in a run, in units of half a row.
"""

from dataclasses import dataclass

import numpy as np

from golden.spec.isa import UNIT, Opcode, Unit
from golden.spec.legality import Resource, capacity
from golden.spec.machine import SLICE, TN, MachineConfig
from golden.spec.tiling import BLOCKS_PER_ROW

_PARTS = {Resource.OPERAND: BLOCKS_PER_ROW, Resource.RESIDUAL: 1, Resource.KEY: TN, Resource.VALUE: SLICE,
          Resource.QUEUES: 1}
"""Parts of a row or tile that are recorded separately: operand blocks, keys of a tile."""


@dataclass(frozen=True)
class Hazard:
    """Instruction ``index`` (in the body of EXPERTS for ``expert``, else -1) did not wait for ``unit``: ``kind`` is
    read-after-write, write-after-read or write-after-write, first found in ``part`` of ``resource``."""

    index: int
    opcode: Opcode
    expert: int
    unit: Unit
    resource: Resource
    part: int
    kind: str

    def __str__(self) -> str:
        return (f"instruction {self.index} ({self.opcode.name}, expert {self.expert}) must wait for {self.unit.name}: "
                f"{self.kind} of {self.resource.name.lower()} part {self.part}")


class MissingWait(RuntimeError):
    """A program with a race: an instruction does not wait for a unit that may still use its rows. ``found`` lists
    every :class:`Hazard`."""

    def __init__(self, found: list[Hazard]):
        self.found = found
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        super().__init__(f"The program lacks a wait: {found[0]}{more}.")


class HazardRecorder:
    """Recorder of every instruction and every use of a memory, in program order; ``found`` lists a job's hazards."""

    def __init__(self, config: MachineConfig):
        sizes = {resource: 1 if resource is Resource.QUEUES else capacity(config, resource) * parts
                 for resource, parts in _PARTS.items()}
        self.found: list[Hazard] = []
        self._read, self._written = ({unit: {resource: np.zeros(size, bool) for resource, size in sizes.items()}
                                      for unit in Unit} for _ in range(2))
        self._now: tuple[int, Opcode, int] = (0, Opcode.BEGIN, -1)
        self._uses: list[tuple[Resource, np.ndarray, bool]] = []

    def start(self) -> None:
        """A job begins; every unit is empty."""
        self.begin(0, Opcode.BEGIN, -1, sum(Unit))
        self.found = []

    def finish(self) -> None:
        """The job has ended. Raises :class:`MissingWait` if anything was found."""
        if self.found:
            raise MissingWait(self.found)

    def begin(self, index: int, opcode: Opcode, expert: int, wait: int) -> None:
        """The next instruction is issued, once the units of ``wait`` are empty."""
        self._commit()
        self._now = index, opcode, expert
        for unit in Unit:
            if wait & unit:
                for marks in (*self._read[unit].values(), *self._written[unit].values()):
                    marks[:] = False

    def use(self, resource: Resource, parts, write: bool, late: bool = False) -> None:
        """The instruction reads or writes ``parts``; ``late``: the epilogue reads it."""
        parts = np.asarray(parts).reshape(-1)
        _, opcode, _ = self._now
        own = UNIT.get(opcode)
        for unit in Unit:
            kinds = []
            if not write and not (late and unit is own):
                kinds.append(("read-after-write", self._written))
            if write and unit is not own:
                kinds += [("write-after-read", self._read), ("write-after-write", self._written)]
            for kind, marks in kinds:
                met = parts[marks[unit][resource][parts]]
                if met.size:
                    self.found.append(Hazard(*self._now, unit, resource, int(met[0]), kind))
        self._uses.append((resource, parts, write))

    def _commit(self) -> None:
        """Marks the uses of the previous instruction as unfinished. (Legality excludes conflicts within one.)"""
        own = UNIT.get(self._now[1])
        if own is not None:
            for resource, parts, write in self._uses:
                (self._written if write else self._read)[own][resource][parts] = True
        self._uses = []
