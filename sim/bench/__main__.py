# SPDX-License-Identifier: Apache-2.0
"""Runs cases on the simulated board; prints the figures with their thresholds. Exit status 1 if one is missed."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from golden.files.machine_file import add_machine_option
from golden.spec.isa import UNIT
from golden.spec.machine import MachineConfig
from golden.spec.model import MODELS, ModelConfig
from golden.spec.program.image import Image
from host.performance.layers import kind_of, part_of
from host.profile.charts.heat import expert_load
from host.profile.charts.roofline import points_of, roofline
from host.profile.charts.stack import cycle_stack, of_counters
from host.profile.layers import layers
from host.profile.perfetto import save_trace
from host.profile.timing import timed_by_device
from host.progress import opening, printer
from host.progress import steps as stages
from host.report.measured import cell, commit, keep, kept, milliseconds
from sim.bench.cases import CASES, Case, cases_of
from sim.bench.model import by_kind
from sim.bench.networks import network
from sim.bench.run import Run, compiled, figures, run
from sim.device import SimDevice
from sim.trace import RETIRED_BY

out = printer()


def print_runs(runs: Mapping[Case, Run], title: str) -> None:
    table = Table("case", "cycles a picture", "ms at 300 MHz", "array use", "DRAM bytes / needed", "experts hit",
                  "predicted", "simulated in", title=title)
    for case, measured in runs.items():
        table.add_row(case.name, f"{measured.cycles:,}", f"{milliseconds(measured.cycles):.3f}", f"{measured.use:.3f}",
                      f"{measured.dram_ratio:.3f}", f"{measured.experts_hit:.1f}" if measured.experts_hit else "",
                      f"{measured.predicted:,.0f}", f"{measured.seconds:.1f} s")
    out.print(table)
    table = Table("cycles by kind", *(case.name for case in runs), title="machine / model, on the track of the unit")
    for kind in RETIRED_BY:
        found = [by_kind(measured.steps).get(kind) for measured in runs.values()]
        if any(found):
            table.add_row(kind.name, *("" if pair is None else f"{pair[0]:,.0f} / {pair[1]:,.0f}" for pair in found))
    out.print(table)


def save_pictures(runs: Mapping[Case, Run], images: Mapping[str, Image], clock_hz: float, folder: Path) -> None:
    """The cycle stack of all runs; roofline, load of experts and trace of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    cycle_stack([of_counters(case.name, measured.counters, measured.macs * case.pictures, images[case.plan].machine)
                 for case, measured in runs.items()]).save(folder / "cycle-stack.svg")
    case, shown = next(iter(runs.items()))
    image, symbols = images[case.plan], images[case.plan].symbols[case.program(images[case.plan].model)]
    parts = layers(shown.retired, symbols, image.machine, part_of)
    for layer in parts:
        layer.kind = kind_of(layer.name, image.model.moe_layers)
    memory = case.dram(image.machine).bytes_per_cycle
    roofline(points_of(parts), image.machine.macs_per_cycle, memory).save(folder / "roofline.svg")
    if image.model.moe_layers:
        expert_load({layer.name: [layer.queues.get(expert, 0) for expert in range(image.model.experts)]
                     for layer in parts if layer.queues}).save(folder / "experts.svg")
    ends = [(int(UNIT[item.entry.opcode]), item.cycle) for item in shown.retired]
    timed = timed_by_device([item.entry for item in shown.retired], ends)
    save_trace(timed, symbols, clock_hz, folder / "trace.json", f"{image.model.name}, {case.name}")
    out.print(f"pictures and trace.json (open it in Perfetto) in {folder}", highlight=False)


def keep_runs(runs: Mapping[Case, Run], config: ModelConfig, machine: MachineConfig, source: str) -> Path:
    """Keep the figures; cases that did not run stay as they were."""
    name = cell(config.name, machine.name)
    entries = {case.name: run.as_json() | {"commit": commit(), "weights": source} for case, run in runs.items()}
    return keep(name, kept(name) | entries)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", default="m3vit-tiny", choices=sorted(MODELS))
    add_machine_option(parser)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="one case, or several")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--keep", action="store_true", help="keep the figures for the table of `make docs`")
    parser.add_argument("--json", action="store_true", help="also print one JSON object")
    options = parser.parse_args(arguments)

    machine = options.machine
    chosen = [case for case in CASES if case.name in options.case] if options.case else cases_of(options.model,
                                                                                                 machine.name)
    pictures = max(case.pictures for case in chosen)
    net = network(options.model, pictures)
    out.print(f"model {net.config.name}: {net.source}", highlight=False)
    runs: dict[Case, Run] = {}
    images: dict[str, Image] = {}
    device = SimDevice(machine, progress=opening)
    try:
        for case in chosen:
            if case.plan not in images:
                with stages(f"quantize {net.config.name}, {case.plan}") as report:
                    images[case.plan] = compiled(net.quantized(case.plan, report), machine, pictures)
            if case.program(net.config) not in images[case.plan].programs:
                out.print(f"{case.name}: {machine.name} cannot hold this program; left out", highlight=False)
                continue
            runs[case] = run(case, images[case.plan], device, net.pixels)
    finally:
        device.close()

    print_runs(runs, f"{net.config.name} on {machine.name}")
    save_pictures(runs, images, device.clock_hz, options.out)
    rows = figures(runs, net.config.name, machine.name, trained=net.trained is not None)
    table = Table("figure", "must", "measured", "met")
    for figure, must, measured, met in rows:
        table.add_row(figure, must, measured, "yes" if met else "NO")
    out.print(table)
    if options.keep:
        out.print(f"kept in {keep_runs(runs, net.config, machine, net.source)}; `make docs` writes the pages",
                  highlight=False)
    if options.json:
        print(json.dumps({case.name: run.as_json() for case, run in runs.items()}))
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
