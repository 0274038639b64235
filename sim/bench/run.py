# SPDX-License-Identifier: Apache-2.0
"""One measured case: a frame, or several, on the simulated board, compared with golden and with the prediction."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.model.int_model import IntModel
from golden.spec.machine import MachineConfig
from golden.spec.program.image import Image
from host.compiler.compile import compile_model
from host.explore.routing import queues
from host.ir.nodes import NotFitting
from host.performance import timeline
from host.profile.layers import Layer, layers
from sim import lockstep
from sim.bench.cases import (
    ALL_TASKS,
    FAST,
    LEAST_ARRAY_USE,
    MOST_CYCLES,
    MOST_DRAM_RATIO,
    MOST_MODEL_ERROR,
    MOST_TASKS_RATIO,
    MOST_TASKS_RATIO_SEEDED,
    REFERENCE,
    Case,
    moved_bytes,
    needed_bytes,
)
from sim.bench.model import Step, steps, worst_kind
from sim.device import SimDevice, dram_model
from sim.trace import Retired


@dataclass
class Run:
    """One measured case. ``experts_hit``: mean number of experts with tokens in a layer; ``macs``: useful ones of a
    picture."""

    case: Case
    counters: dict[str, int]
    layers: list[Layer]
    retired: list[Retired]
    exact: bool
    macs: int
    use: float
    bytes: int
    dram_ratio: float
    experts_hit: float
    predicted: float
    steps: list[Step]
    seconds: float

    @property
    def cycles(self) -> int:
        """Cycles a picture."""
        return round(self.counters["CYCLES"] / self.case.pictures)

    def as_json(self) -> dict:
        """What is kept and printed."""
        return {"cycles": self.cycles, "use": self.use, "macs": self.macs, "bytes": self.bytes,
                "dram_ratio": self.dram_ratio, "experts_hit": self.experts_hit, "exact": self.exact,
                "predicted": self.predicted}


def run(case: Case, image: Image, device: SimDevice, pixels: list[np.ndarray]) -> Run:
    """One case: every instruction compared with golden, then the counters read."""
    task, dram = case.program(image.model), case.dram(image.machine)
    compared = lockstep.run(image, device, pixels[:case.pictures], task, case.name, dram=dram)
    result, found = compared.machine, layers(compared.retired, image.symbols[task], image.machine)
    routing = queues(compared.entries)
    spans = timeline.predict(image, task, routing, dram_model(dram, image.machine))
    macs, moved = sum(layer.macs for layer in found), moved_bytes(result.counters, image.machine)
    return Run(case, result.counters, found, compared.retired, compared.exact, macs // case.pictures,
               macs / (result.cycles * image.machine.macs_per_cycle), moved // case.pictures,
               moved / needed_bytes(image, task, compared.entries),
               float(np.mean([len(arrivals) for arrivals in routing])) if routing else 0.0,
               spans[-1].end / case.pictures, steps(compared.retired, spans), compared.seconds)


def compiled(model: IntModel, machine: MachineConfig, pictures: int) -> Image:
    """Programs of the model, those on several pictures where the machine holds them."""
    try:
        return compile_model(model, machine, pictures=pictures)
    except NotFitting:
        return compile_model(model, machine)


def figures(runs: Mapping[Case, Run], model: str, machine: str, *,
            trained: bool = True) -> list[tuple[str, str, str, bool]]:
    """(figure, must, measured, met) of every figure with a threshold; ``trained``: the weights are."""
    most = MOST_CYCLES.get((model, machine), {})
    rows = [(f"cycles a picture, {case.name}", f"<= {most[case]:,}", f"{run.cycles:,}", run.cycles <= most[case])
            for case, run in runs.items() if case in most]
    first, both = runs.get(FAST), runs.get(ALL_TASKS)
    if first and (model, machine) == REFERENCE:
        rows += [("array use over the whole frame", f">= {LEAST_ARRAY_USE}", f"{first.use:.3f}",
                  first.use >= LEAST_ARRAY_USE),
                 ("DRAM bytes over needed bytes", f"<= {MOST_DRAM_RATIO}", f"{first.dram_ratio:.3f}",
                  first.dram_ratio <= MOST_DRAM_RATIO)]
    if first and both:
        ratio, most = both.cycles / first.cycles, MOST_TASKS_RATIO if trained else MOST_TASKS_RATIO_SEEDED
        rows.append(("both tasks over one, cycles", f"<= {most}", f"{ratio:.3f}", ratio <= most))
    for case, run in runs.items():
        error = abs(run.predicted / run.cycles - 1)
        rows.append((f"performance model against RTL, {case.name}", f"<= {MOST_MODEL_ERROR:.0%}", f"{error:.1%}",
                     error <= MOST_MODEL_ERROR))
        if (model, machine) == REFERENCE:
            kind, error = worst_kind(run.steps)
            rows.append((f"the same, worst kind of instruction, {case.name}", f"<= {MOST_MODEL_ERROR:.0%}",
                         f"{error:.1%} ({kind.name})", error <= MOST_MODEL_ERROR))
    rows += [(f"bit-exact, {case.name}", "yes", "yes" if run.exact else "NO", run.exact) for case, run in runs.items()]
    return rows
