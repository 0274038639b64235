# SPDX-License-Identifier: Apache-2.0
"""Runs the demonstration and prints its results. Exit status 1 when any bit differs."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from rich.table import Table

from golden.device import GoldenDevice
from golden.model.float_model import run_float
from golden.model.random_int_model import random_int_model
from golden.spec.machine import MACHINES
from golden.spec.model import MODELS
from golden.spec.program.image import Image
from host.compiler.compile import compile_model
from host.compiler.presets import smallest
from host.driver.result import same
from host.driver.session import Session
from host.expert_choices import choices_of_network, load_of
from host.pictures.outputs import outputs_of
from host.pictures.sheet import save_sheet
from host.profile.layers import Layer, layers
from host.progress import cycles, opening, printer, steps
from sim import lockstep
from sim.board.settings import DRAM_PRESETS
from sim.demo import models, pictures
from sim.device import SimDevice
from sim.trace import Mismatch

out = printer()


def another_model(name: str, device: SimDevice) -> dict:
    """A second network on the same simulated bitstream, seeded integer weights: depth, width and tokens are data."""
    config = MODELS[name]
    image = compile_model(random_int_model(config, seed=1), device.board.config)
    pixels = np.random.default_rng(1).integers(0, 256, (config.image_height, config.image_width, 3), dtype=np.uint8)
    golden = Session(image, GoldenDevice(image.machine)).frame(pixels)
    device.free()
    session = Session(image, device)
    task = next(iter(image.programs))
    with cycles(f"{name} on {device.name}", sum(symbol.cycles for symbol in image.symbols[task])) as report:
        machine = session.frame(pixels, task, progress=report)
    return {"cycles": machine.cycles, "milliseconds_at_300_MHz": round(machine.cycles / 300e3, 3),
            "bit_exact": same(machine, golden)}


def all_tasks(image: Image, device: SimDevice, pixels: np.ndarray) -> dict:
    """Figures of the program that computes all tasks of one picture, each instruction compared."""
    task = "+".join(image.model.tasks)
    compared = lockstep.run(image, device, pixels, task, task)
    taken = compared.machine.cycles
    macs = sum(row.macs for row in layers(compared.retired, image.symbols[task], image.machine))
    return {"cycles": taken, "milliseconds_at_300_MHz": round(taken / 300e3, 3),
            "frames_a_second_at_300_MHz": round(300e6 / taken, 1),
            "array_use": round(macs / (taken * image.machine.macs_per_cycle), 4),
            "instructions_compared": len(compared.entries), "bit_exact": compared.exact}


def layer_table(task: str, rows: list[Layer], image: Image) -> Table:
    table = Table("layer", "cycles", "MAC use", "DRAM bytes", "experts hit", "tokens/expert", title=task)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        queues = row.queues.values()
        table.add_row(row.name, f"{row.cycles:,}", f"{100 * row.use(image.machine):.1f} %", f"{row.bytes:,}",
                      f"{len(queues)}/{image.model.experts}" if queues else "",
                      f"{min(queues)}..{max(queues)}" if queues else "")
    return table


def print_facts(title: str, facts: dict) -> None:
    table = Table(title=title, show_header=False)
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), shown(value))
    out.print(table)


def shown(value) -> str:
    """A figure as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--model", default=models.names()[0], choices=sorted(models.names()))
    parser.add_argument("--machine", default="zcu102", choices=[*sorted(MACHINES), "smallest"],
                        help="a preset, or the smallest one that holds the model")
    parser.add_argument("--plan", default="fast", choices=("fast", "accurate"))
    parser.add_argument("--dram", default="ideal", choices=sorted(DRAM_PRESETS))
    parser.add_argument("--then", choices=sorted(MODELS), help="another model to run on the same bitstream afterwards")
    parser.add_argument("--picture", type=Path, help="a picture file of your own")
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--json", action="store_true", help="also print one JSON object")
    options = parser.parse_args(arguments)

    model, source = models.float_model(options.model)
    config = model.config
    sample, picture_name = models.picture(options.picture, config, source)
    pixels = sample.image
    with steps(f"quantize {config.name}") as report:
        integer = models.quantized(model, options.plan, report, source.startswith("trained"))
    image = compile_model(integer, smallest(config, integer.plan) if options.machine == "smallest"
                          else MACHINES[options.machine])
    out.print(f"model {config.name} ({source}), plan {options.plan}; picture: {picture_name}", highlight=False)
    last = ", last enlargement of the maps" if config.task_heads else ""
    out.print(f"placement: accelerator 100 % of the MACs; host: crop, resize, patch order{last}", highlight=False)

    options.out.mkdir(parents=True, exist_ok=True)
    pictures.save_input(pixels, options.out / "input.png")
    chosen, features, outputs, summary = {}, {}, [], {}
    device = SimDevice(image.machine, DRAM_PRESETS[options.dram],
                       progress=opening)
    try:
        for task in config.tasks:
            compared = lockstep.run(image, device, pixels, task, task)
            machine, rows = compared.machine, layers(compared.retired, image.symbols[task], image.machine)
            outputs += outputs_of(machine, config, sample)
            reference = run_float(model, pixels[None], task)[0]
            error = machine.features - reference
            chosen |= choices_of_network(integer, (task,), pixels)
            features[task] = machine.features
            out.print(layer_table(task, rows, image))
            useful = sum(row.macs for row in rows) / (machine.cycles * image.machine.macs_per_cycle)
            summary[task] = {
                "cycles": machine.cycles, "milliseconds_at_300_MHz": round(machine.cycles / 300e3, 3),
                "array_use": round(useful, 4), "instructions_compared": len(compared.entries),
                "bit_exact": compared.exact,
                "mse_against_float": float(np.mean(error ** 2)), "mae_against_float": float(np.abs(error).mean())}
            print_facts(f"{task}: frame", summary[task])
            if not compared.exact:
                return 1
        if config.task_heads and "+".join(config.tasks) in image.programs:
            together = summary["all tasks in one program"] = all_tasks(image, device, pixels)
            print_facts("all tasks in one program: frame", together)
            if not together["bit_exact"]:
                return 1
        if options.then:
            summary[options.then] = another_model(options.then, device)
            print_facts(f"then {options.then} (seeded integer weights), same bitstream", summary[options.then])
            if not summary[options.then]["bit_exact"]:
                return 1
    except Mismatch as error:
        print(f"The machine differs from golden: {error}", file=sys.stderr)
        return 1
    finally:
        device.close()
    if config.moe_layers:
        pictures.save_experts(pixels, config, chosen, options.out / "experts.png")
    pictures.save_features(config, features, options.out / "features.png")
    if outputs:
        load = load_of(chosen, config.experts)
        save_sheet(pixels, outputs, options.out / "sheet.png", load, f"{config.name} on {image.machine.name}")
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1))
    names = ", ".join(sorted(path.name for path in options.out.glob("*.png")))
    out.print(f"pictures in {options.out}: {names}", highlight=False)
    if options.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
