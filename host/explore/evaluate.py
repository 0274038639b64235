# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a candidate: area by formula, cycles by the timeline of its own compiled program."""

from dataclasses import dataclass

from golden.spec import isa
from golden.spec.boards import Board
from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from host.compiler.compile import encode, plan_program
from host.compiler.skeleton import ModelSkeleton
from host.compiler.weight_stream import Stream
from host.explore.area import Area, area
from host.explore.design_space import Geometry, families, rings
from host.ir.nodes import Node, NotFitting
from host.performance.cycles import drain
from host.performance.timeline import Span, Timeline

RESOURCES = {"LUT": "lut", "FF": "ff", "DSP": "dsp", "BRAM36": "bram36", "URAM": "uram"}
"""Resources of a board, and the field of Area and Board that counts each."""


@dataclass(frozen=True)
class Point:
    """One candidate. ``cycles`` of a frame, of them ``array`` multiplying and ``weights`` waiting for weights; the rest
    is filling and draining units and waiting for norms, gate and softmax."""

    machine: MachineConfig
    area: Area
    cycles: float
    array: float
    weights: float

    @property
    def costs(self) -> tuple[float, ...]:
        """Objectives to minimise: cycles, DSP, LUT, BRAM36, URAM."""
        return self.cycles, self.area.dsp, self.area.lut, self.area.bram36, self.area.uram


def fits(needed: Area, board: Board, fill: float) -> bool:
    """Whether no resource takes more than ``fill`` of the board."""
    return all(getattr(needed, field) <= fill * getattr(board, field) for field in RESOURCES.values())


def explore_geometry(model: ModelSkeleton, tasks: tuple[str, ...], board: Board, fill: float,
                     geometry: Geometry) -> tuple[list[Point], Area | None]:
    """(every machine of a geometry that holds the model and fits the board, the area of the smallest that holds it)."""
    found, least = [], None
    try:
        for family, nodes in families(model, tasks, geometry):
            programs = {family.ring_lines: nodes}  # what is retained, and so where to cut, depends on the ring
            for machine in rings(family):
                needed = area(machine)
                if least is None or needed.bram36 < least.bram36:
                    least = needed
                if fits(needed, board, fill):
                    if machine.ring_lines not in programs:
                        programs[machine.ring_lines] = plan_program(model, machine, Stream(), tasks)
                    found.append(evaluate(model, tasks, board, machine, programs[machine.ring_lines]))
    except NotFitting:
        pass
    return found, least


def evaluate(model: ModelSkeleton, tasks: tuple[str, ...], board: Board, machine: MachineConfig,
             nodes: list[Node]) -> Point:
    """One machine with the nodes of its program."""
    words = encode(nodes, machine, _Anywhere())
    spans = Timeline(machine, board.dram).run(words, model.queues.get("+".join(tasks), ()))
    weights = sum(span.waited for span in spans)
    return Point(machine, area(machine), spans[-1].end, _multiplying(spans, words, machine), weights)


def _multiplying(spans: list[Span], words: list[int], machine: MachineConfig) -> float:
    """Cycles in which LINEAR and ATTENTION kept the array or its drain busy."""
    program = [isa.decode(word)[0] for word in words]
    tail = Timeline(machine).latency
    tail = tail.array + drain(machine) + tail.epilogue
    return sum(span.end - span.start - span.waited - tail for span in spans
               if program[span.index] in (Opcode.LINEAR, Opcode.ATTENTION))


class _Anywhere(Stream):
    """Weight stream without contents, for programs that are only timed."""

    def __getitem__(self, name: str) -> int:
        return 0
