# SPDX-License-Identifier: Apache-2.0
"""Runs every case on the simulated board; prints the figures with their thresholds. Exit status 1 if one is missed."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from golden.files.machine_file import add_machine_option
from golden.model.int_model import IntModel
from golden.spec.machine import MachineConfig
from golden.spec.model import MODELS
from golden.spec.program.image import Image
from host.compiler.compile import compile_model
from host.explore.routing import queues
from host.ir.nodes import NotFitting
from host.models.calibration import calibration_pictures
from host.performance import timeline
from host.progress import opening, printer
from host.progress import steps as stages
from sim import lockstep
from sim.bench.cases import (
    CASES,
    LEAST_ARRAY_USE,
    MOST_DRAM_RATIO,
    MOST_MODEL_ERROR,
    MOST_TASKS_RATIO,
    Case,
    moved_bytes,
    needed_bytes,
)
from sim.bench.model import Step, by_kind, dram_model, steps, worst_kind
from sim.bench.perfetto import save_trace
from sim.bench.pictures import save_cycle_stack, save_expert_load, save_roofline
from sim.board.settings import DRAM_PRESETS
from sim.demo import models
from sim.demo.layers import Layer, layers
from sim.device import SimDevice
from sim.trace import RETIRED_BY, Retired

MOST_PICTURES = max(case.pictures for case in CASES)

out = printer()


@dataclass
class Run:
    """One measured case."""

    case: Case
    counters: dict[str, int]
    layers: list[Layer]
    retired: list[Retired]
    exact: bool
    use: float
    dram_ratio: float
    predicted: float
    steps: list[Step]
    seconds: float

    @property
    def cycles(self) -> int:
        """Cycles a picture."""
        return round(self.counters["CYCLES"] / self.case.pictures)


def run(case: Case, image: Image, device: SimDevice, pixels: list[np.ndarray]) -> Run:
    """One case: every instruction compared with golden, then the counters read."""
    task, dram = case.program(image.model), DRAM_PRESETS[case.dram]
    compared = lockstep.run(image, device, pixels[:case.pictures], task, case.name, dram=dram)
    result, found = compared.machine, layers(compared.retired, image.symbols[task])
    spans = timeline.predict(image, task, queues(compared.entries), dram_model(dram, image.machine))
    return Run(case, result.counters, found, compared.retired, compared.exact,
               sum(layer.macs for layer in found) / (result.cycles * image.machine.macs_per_cycle),
               moved_bytes(result.counters, image.machine) / needed_bytes(image, task, compared.entries),
               spans[-1].end / case.pictures, steps(compared.retired, spans), compared.seconds)


def compiled(model: IntModel, machine: MachineConfig) -> Image:
    """Programs of the model, those on several pictures where the machine holds them."""
    try:
        return compile_model(model, machine, pictures=MOST_PICTURES)
    except NotFitting:
        return compile_model(model, machine)


def figures(runs: dict[str, Run]) -> list[tuple[str, str, str, bool]]:
    """(figure, must, measured, met) of every figure with a threshold."""
    rows = [(f"cycles a picture, {run.case.name}", f"<= {run.case.most_cycles:,}", f"{run.cycles:,}",
             run.cycles <= run.case.most_cycles) for run in runs.values() if run.case.most_cycles]
    first = runs.get(CASES[0].name)
    if first:
        rows += [("array use over the whole frame", f">= {LEAST_ARRAY_USE}", f"{first.use:.3f}",
                  first.use >= LEAST_ARRAY_USE),
                 ("DRAM bytes over needed bytes", f"<= {MOST_DRAM_RATIO}", f"{first.dram_ratio:.3f}",
                  first.dram_ratio <= MOST_DRAM_RATIO)]
    both = runs.get(CASES[-1].name)
    if first and both:
        ratio = both.cycles / first.cycles
        rows.append(("both tasks over one, cycles", f"<= {MOST_TASKS_RATIO}", f"{ratio:.3f}",
                     ratio <= MOST_TASKS_RATIO))
    for run in runs.values():
        error = abs(run.predicted / run.cycles - 1)
        rows.append((f"performance model against RTL, {run.case.name}", f"<= {MOST_MODEL_ERROR:.0%}", f"{error:.1%}",
                     error <= MOST_MODEL_ERROR))
        kind, error = worst_kind(run.steps)
        rows.append((f"the same, worst kind of instruction, {run.case.name}", f"<= {MOST_MODEL_ERROR:.0%}",
                     f"{error:.1%} ({kind.name})", error <= MOST_MODEL_ERROR))
    rows += [(f"bit-exact, {run.case.name}", "yes", "yes" if run.exact else "NO", run.exact) for run in runs.values()]
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", default="m3vit-tiny", choices=sorted(MODELS))
    add_machine_option(parser)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="one case, or several")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--json", action="store_true", help="also print one JSON object")
    options = parser.parse_args(arguments)

    model, source = models.float_model(options.model)
    sample, picture = models.picture(None, model.config, source)
    pixels = [sample.image, *calibration_pictures(model.config, False, MOST_PICTURES)[0]]
    out.print(f"model {model.config.name} ({source}); picture: {picture}", highlight=False)
    machine = options.machine
    device = SimDevice(machine, progress=opening)
    runs: dict[str, Run] = {}
    images: dict[str, Image] = {}
    try:
        for case in CASES:
            if options.case and case.name not in options.case:
                continue
            if case.plan not in images:
                with stages(f"quantize {model.config.name}, {case.plan}") as report:
                    images[case.plan] = compiled(models.quantized(model, case.plan, report), machine)
            if case.program(model.config) not in images[case.plan].programs:
                out.print(f"{case.name}: {machine.name} cannot hold this program; left out", highlight=False)
                continue
            runs[case.name] = run(case, images[case.plan], device, pixels)
    finally:
        device.close()

    table = Table("case", "cycles a picture", "ms at 300 MHz", "array use", "DRAM bytes / needed", "predicted",
                  "simulated in", title=f"{model.config.name} on {machine.name}")
    for name, measured in runs.items():
        table.add_row(name, f"{measured.cycles:,}", f"{measured.cycles / 300e3:.3f}", f"{measured.use:.3f}",
                      f"{measured.dram_ratio:.3f}", f"{measured.predicted:,.0f}", f"{measured.seconds:.1f} s")
    out.print(table)
    table = Table("cycles by kind", *runs, title="machine / model, on the track of the unit")
    for kind in RETIRED_BY:
        found = [by_kind(measured.steps).get(kind) for measured in runs.values()]
        if any(found):
            table.add_row(kind.name, *("" if pair is None else f"{pair[0]:,.0f} / {pair[1]:,.0f}" for pair in found))
    out.print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    save_cycle_stack({name: measured.counters for name, measured in runs.items()}, options.out / "cycle-stack.png")
    shown = next(iter(runs.values()))
    bytes_per_cycle = DRAM_PRESETS[shown.case.dram].bytes_per_cycle or machine.weight_bytes_per_cycle
    save_roofline(shown.layers, machine, bytes_per_cycle, options.out / "roofline.png")
    if model.config.moe_layers:
        save_expert_load(shown.layers, model.config.experts, options.out / "experts.png")
    task = shown.case.program(model.config)
    save_trace(shown.retired, images[shown.case.plan].symbols[task], device.clock_hz, options.out / "trace.json")
    rows = figures(runs)
    table = Table("figure", "must", "measured", "met")
    for figure, must, measured, met in rows:
        table.add_row(figure, must, measured, "yes" if met else "NO")
    if options.model == "m3vit-tiny" and machine.name == "zcu102":
        out.print(table)
    out.print(f"pictures and trace.json (open it in Perfetto) in {options.out}", highlight=False)
    if options.json:
        print(json.dumps({name: {"cycles": r.cycles, "use": r.use, "dram_ratio": r.dram_ratio, "exact": r.exact,
                                 "predicted": r.predicted} for name, r in runs.items()}))
    thresholds = options.model == "m3vit-tiny" and machine.name == "zcu102"
    return 0 if all(r.exact for r in runs.values()) and (not thresholds or all(met for *_, met in rows)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
