# SPDX-License-Identifier: Apache-2.0
"""Rows of the ablation: each idea switched off alone, and all of them added one after the other as the paper does."""

from collections.abc import Mapping
from dataclasses import dataclass

from golden.spec.boards.dram import DramTiming
from host.explore.area import Area
from host.performance.ablation import Idea
from sim.ablation.area import difference, separate_engines
from sim.ablation.programs import Program

RTL, MODEL, AREA, SAME = "RTL", "performance model", "area formula", "cycles as the full design"
INSTEAD = {
    Idea.EXPERT_BY_EXPERT: "every token reads the weights of its experts for itself",
    Idea.SINGLE_PASS: "two passes over the scores: maximum, then exponentials",
    Idea.LOW_COST_GELU: "a table with the result of every 16-bit input",
    Idea.UNIFIED_LINEAR: "{engines} engines share the multipliers, in the best proportion",
    Idea.ATTENTION_REORDERING: "every query reads all keys and values for itself, from DRAM",
}
"""What a machine without an idea does."""
AS_FAST = "{engines} engines, each as fast as the unified one"
PAPER_MS = (650.3, 433.4, 353.4, 212.9, 104.3, 34.6)
"""Edge-MoE, table V: no idea, then each one added."""


@dataclass(frozen=True)
class Row:
    """One design: what it lacks, what it does instead; cycles and DRAM bytes of a frame; area more than the full
    design's; where cycles and area come from."""

    name: str
    instead: str
    cycles: float
    bytes: int
    area: Area
    source: str


@dataclass(frozen=True)
class Step:
    """One design of the cumulative column: the idea that it adds, its cycles, where they come from, and the paper's
    milliseconds."""

    added: str
    cycles: float
    source: str
    paper_ms: float


@dataclass(frozen=True)
class Measured:
    """A frame on the simulated board: cycles and bytes by the machine's own counters."""

    cycles: int
    bytes: int


def alone(programs: Mapping[bool, Program], dram: DramTiming, measured: Mapping[bool, Measured]) -> list[Row]:
    """The full design, then each idea switched off alone. ``programs`` and, of those that ran on the simulated board,
    ``measured``: with experts one after the other (False), token by token (True)."""
    full, machine = programs[False], programs[False].image.machine
    rows = [_row(full, dram, frozenset(), "full design", "", measured.get(False))]
    for idea in Idea:
        token_by_token, instead = idea is Idea.EXPERT_BY_EXPERT, INSTEAD[idea].format(engines=full.engines)
        more = difference(idea, machine)
        if idea is Idea.LOW_COST_GELU:  # a table takes no longer than chords
            rows.append(_as_fast(rows[0], idea, instead, more))
            continue
        rows.append(_row(programs[token_by_token], dram, frozenset({idea}), idea.value, instead,
                         measured.get(True) if token_by_token else None, more))
        if idea is Idea.UNIFIED_LINEAR:
            rows.append(_as_fast(rows[0], idea, AS_FAST.format(engines=full.engines),
                                 separate_engines(machine, full.engines)))
    return rows


def _as_fast(full: Row, idea: Idea, instead: str, area: Area) -> Row:
    """Cycles and bytes of the full design by construction, not by a measurement of their own."""
    return Row(idea.value, instead, full.cycles, full.bytes, area, f"{SAME}, {AREA}")


def _row(program: Program, dram: DramTiming, off: frozenset[Idea], name: str, instead: str,
         measured: Measured | None, area: Area | None = None) -> Row:
    area = area or Area()
    tail = f", {AREA}" if area != Area() else ""
    if measured:
        return Row(name, instead, measured.cycles, measured.bytes, area, RTL + tail)
    found = program.predict(dram, off)
    return Row(name, instead, found.cycles, found.bytes, area, MODEL + tail)


def cumulative(programs: Mapping[bool, Program], dram: DramTiming, measured: Mapping[bool, Measured]) -> list[Step]:
    """No idea, then each one added in the paper's order; the last step is the full design."""
    off, steps = set(Idea), []
    for idea, paper_ms in zip((None, *Idea), PAPER_MS, strict=True):
        off.discard(idea)
        known = None if off else measured.get(False)
        cycles = known.cycles if known else programs[Idea.EXPERT_BY_EXPERT in off].predict(dram, frozenset(off)).cycles
        steps.append(Step(idea.value if idea else "none of them", cycles, RTL if known else MODEL, paper_ms))
    return steps
