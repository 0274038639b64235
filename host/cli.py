# SPDX-License-Identifier: Apache-2.0
"""The command ``edge-moe``: import, quantize, compile, run, accuracy, explore, info, disasm.

Exit status: 0 done; 1 the device or the job failed; 2 the input was refused. Errors are one sentence on stderr;
``--json`` prints one JSON object on stdout instead of tables.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from golden.files.errors import ModelFileError
from golden.spec.activations import ACTIVATIONS
from golden.spec.container import ProgramError
from golden.spec.machine import MACHINES
from golden.spec.model import ConfigError, ModelConfig
from host.driver.errors import AccelError, InputError, VersionMismatch
from host.explore.errors import NothingFits
from host.images import PictureError
from host.ir.nodes import NotFitting
from host.parallel_map import ClusterError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Run multi-task vision transformers on the open accelerator, simulated or real.")
out = Console()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]
Source = Annotated[Path, typer.Argument(help="File or folder to read.")]
Machine = Annotated[str | None, typer.Option(help=f"Machine configuration: {', '.join(MACHINES)}.")]

Fits = Annotated[str | None, typer.Option("--machine", help=f"Refuse a model that this machine does not hold: "
                                                            f"{', '.join(MACHINES)}.")]


class UsageError(ValueError):
    """An argument that makes no sense; the message says what was wanted."""


def _show(as_json: bool, title: str, facts: dict) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    table = Table(title=escape(title), show_header=False)
    for key, value in facts.items():
        shown = "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(key.replace("_", " "), escape(shown))
    out.print(table)


def _require_fit(config: ModelConfig, plan: str, machine: str | None) -> None:
    """Raise NotFitting unless the machine of that name, if any, holds the model."""
    from golden.spec.quantized import Plan
    from host.compiler.presets import require_fit
    from host.program import machine_named

    if machine is not None:
        chosen = Plan.accurate if plan == "accurate" else Plan.fast  # a mixed one needs at least the fast one's memory
        require_fit(config, chosen(config.depth, config.task_heads), machine_named(machine))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = (int(part) for part in text.lower().split("x"))
        return height, width
    except ValueError:
        raise UsageError(f"An image size is HEIGHTxWIDTH, like 128x256, not {text!r}.") from None


@app.command("import")
def import_(path: Source, output: Output,
            heads: Annotated[int | None, typer.Option(help="Attention heads.")] = None,
            top_k: Annotated[int | None, typer.Option(help="Experts that a token goes to.")] = None,
            gate: Annotated[str | None, typer.Option(help="softmax_then_topk or topk_then_softmax.")] = None,
            activation: Annotated[str | None, typer.Option(help=f"Of the FFNs: {', '.join(ACTIVATIONS)}.")] = None,
            tasks: Annotated[str | None, typer.Option(help="Task names, comma-separated.")] = None,
            image: Annotated[str | None, typer.Option(help="Wanted image size, HEIGHTxWIDTH.")] = None,
            source_image: Annotated[str | None, typer.Option(help="Image size the checkpoint was trained for.")] = None,
            name: Annotated[str | None, typer.Option(help="What to call the model.")] = None,
            trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="Unpickle the file: it can run any "
                                                       "code. Only for files of your own.")] = False,
            machine: Fits = None,
            json_: Json = False):
    """Read a checkpoint of any known layout and write one float .safetensors."""
    from golden.model.store import save_float
    from host.importers import import_checkpoint

    model = import_checkpoint(path, trust_pickle=trust_pickle, heads=heads, top_k=top_k, gate=gate, name=name,
                              activation=activation, tasks=None if tasks is None else tuple(tasks.split(",")),
                              image=_size(image), source_image=_size(source_image))
    _require_fit(model.config, "fast", machine)
    save_float(model, output)
    _show(json_, f"{path} -> {output}", _describe(model.config) | {
        "parameters": sum(t.size for t in model.tensors.values()), "written": str(output)})


@app.command()
def quantize(path: Source, output: Output,
             plan: Annotated[str, typer.Option(help="fast, accurate or mixed.")] = "fast",
             images: Annotated[list[Path] | None, typer.Option(help="Calibration pictures; photographs that come "
                                                               "with the packages when none are given.")] = None,
             crops: Annotated[int | None, typer.Option(help="How many calibration crops to make of them; by default "
                                                       "96, or less for many tokens.")] = None,
             cycle_budget: Annotated[int | None, typer.Option(help="Cycles a frame may take (mixed).")] = None,
             weight_bits: Annotated[int | None, typer.Option(help="Bits of weights, 4 to 8.")] = None,
             expert_bits: Annotated[int | None, typer.Option(help="Bits of experts' weights, 4 to 8.")] = None,
             strict: Annotated[bool, typer.Option("--strict", help="Write nothing where calibration finds a place that "
                                                  "the integer model does badly.")] = False,
             machine: Fits = None,
             json_: Json = False):
    """Turn a float model (or a checkpoint that needs no questions) into an integer one."""
    from host.images import fitted, read_picture
    from host.importers import import_checkpoint
    from host.program import is_quantized
    from host.progress import steps
    from host.quantizer.crops import crops as photographs
    from host.quantizer.findings import Finding
    from host.quantizer.quantize import quantize as quantized

    if is_quantized(path):
        raise UsageError(f"{path} is quantized already; give the float model it was made from.")
    model = import_checkpoint(path)
    _require_fit(model.config, plan, machine)
    pictures = ([fitted(read_picture(image), model.config) for image in images] if images
                else photographs(model.config, crops))
    found: list[Finding] = []
    with steps(f"quantize {model.config.name}") as report:
        result = quantized(model, pictures, plan, progress=report, report=found.append, cycle_budget=cycle_budget,
                           weight_bits=weight_bits, expert_bits=expert_bits)
    for finding in found:
        print(f"edge-moe: warning: {finding}", file=sys.stderr)
    if found and strict:
        raise UsageError(f"{len(found)} finding{'s' * (len(found) > 1)} of calibration, and --strict: nothing is "
                         f"written.")
    result.save(output)
    _show(json_, f"{path} -> {output}", _describe(result.config) | {
        "plan": plan, "calibration_pictures": len(pictures), "bytes": output.stat().st_size,
        "warnings": [str(finding) for finding in found] if json_ else len(found), "written": str(output)})


@app.command("compile")
def compile_(path: Source, output: Output, machine: Machine = "zcu102", json_: Json = False):
    """Lower a quantized model to a program image for one machine."""
    from host.program import is_program, machine_named, program_of

    if is_program(path):
        raise UsageError(f"{path} is a program image already; give the quantized model it was made from.")
    image = program_of(path, machine_named(machine))
    output.write_bytes(image.to_bytes())
    _show(json_, f"{path} -> {output}", _describe(image.model) | {
        "machine": image.machine.name, "fingerprint": f"0x{image.machine.fingerprint:016x}",
        "programs": ", ".join(f"{task} ({len(symbols)} instructions, about {sum(s.cycles for s in symbols):,} cycles)"
                              for task, symbols in image.symbols.items()),
        "weight_bytes": sum(len(plane) for plane in image.planes), "written": str(output)})


@app.command()
def run(path: Source, picture: Annotated[Path, typer.Argument(help="Picture file.")],
        device: Annotated[str, typer.Option(help="golden, sim or uio.")] = "golden", machine: Machine = None,
        task: Annotated[str | None, typer.Option(help="Which program to run; the first when none is named.")] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the features as .npy: tokens x dim, "
                                                    "or tasks x tokens x dim where several ran.")] = None,
        json_: Json = False):
    """Run one picture (cropped and resized to the model's size) through a quantized model or a program image."""
    import numpy as np

    from host.driver import Session, open_device
    from host.images import fitted, read_picture
    from host.program import machine_named, program_of
    from host.progress import cycles

    image = program_of(path, None if machine is None else machine_named(machine))
    pixels = fitted(read_picture(picture), image.model)
    name = next(iter(image.programs)) if task is None else task
    expected = sum(symbol.cycles for symbol in image.symbols.get(name, ()))
    board = open_device(device, **({} if device == "uio" else {"machine": image.machine}))
    try:
        session = Session(image, board)
        with cycles(f"{image.model.name} {name} on {board.name}", expected) as report:
            result = session.frame(pixels, task, progress=report)
    finally:
        board.close()
    features = np.stack(list(result.by_task.values())) if len(result.by_task) > 1 else result.features
    facts = {"device": board.name, "task": name, "placement": "accelerator: 100 % of MACs; host: crop, resize",
             "features": list(features.shape), "mean": round(float(features.mean()), 5),
             "deviation": round(float(features.std()), 5), "cycles": result.cycles or None,
             "milliseconds": round(result.cycles / board.clock_hz * 1e3, 3) or None}
    if result.maps:
        facts["maps"] = ", ".join(f"{name} {' x '.join(map(str, result[name].shape))}" for name in result.maps)
    if result.logits is not None:
        best = np.argsort(-result.logits, kind="stable")[:5]
        facts["top_classes"] = ", ".join(f"{index} ({result.logits[index]:.2f})" for index in best)
    if output is not None:
        with output.open("wb") as file:  # np.save would add a suffix to the name
            np.save(file, features)
        facts["written"] = str(output)
    _show(json_, f"{path} on {picture}", facts)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def accuracy(context: typer.Context):
    """The integer model against float, layer by layer; `edge-moe accuracy --help` tells the options."""
    from host.report.accuracy import main as report

    raise typer.Exit(report(context.args) or 0)


@app.command()
def explore(board: Annotated[str, typer.Option(help="Board: zcu102, kv260, u280.")] = "zcu102",
            model: Annotated[str, typer.Option(help="Quantized model file, or a preset, all of whose experts are hit.")]
            = "m3vit-tiny",
            plan: Annotated[str, typer.Option(help="Plan of a preset: fast or accurate.")] = "fast",
            task: Annotated[str | None, typer.Option(help="A task, or all of them joined by +; the first when none is "
                                                     "named.")] = None,
            fill: Annotated[float, typer.Option(help="How much of each resource may be used.")] = 0.7,
            points: Annotated[int, typer.Option(help="Rows of the table.")] = 20,
            scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler; every core of this "
                                                          "machine when none is given.")] = None,
            picture: Annotated[Path | None, typer.Option(help="Draw the front into this file.")] = None,
            json_: Json = False):
    """Search machines for a board: the Pareto front of cycles, DSP, LUT and BRAM, and what limits each point."""
    from host.explore import command
    from host.explore.picture import save_pareto_front
    from host.explore.search import search
    from host.progress import printer, steps

    where, network = command.board_named(board), command.model_named(model, plan)
    tasks = command.tasks_named(network, task)
    with steps(f"explore {where.name}") as report:
        found = search(command.skeleton_of(network, tasks), tasks, where, fill, scheduler=scheduler, report=report)
    name = network.config.name
    if picture is not None:
        save_pareto_front(found, f"{name} on {where.name}: {len(found.points)} machines that fit", picture)
    if json_:
        print(json.dumps(command.as_json(found, name, tasks)))
        return
    printer().print(command.table(found, f"{name} ({'+'.join(tasks)}) on {where.name}, filled to {fill:.0%}: "
                                  f"{len(found.pareto_front)} of {len(found.points)} that fit are best", points))


@app.command()
def disasm(path: Source,
           task: Annotated[str | None, typer.Option(help="Which program; all when none is named.")] = None):
    """List the instructions of a program image."""
    from golden.spec.image import Image
    from host.compiler.disassemble import disassemble, listing

    image = Image.from_bytes(path.read_bytes())
    print(disassemble(image) if task is None else "\n".join(listing(image, task)))


@app.command()
def info(path: Annotated[Path | None, typer.Argument(help="A model, a program image or a checkpoint.")] = None,
         json_: Json = False):
    """Tell what a file is; without a file, which machines and devices there are."""
    from importlib.metadata import entry_points

    from host.driver.device import ENTRY_POINTS

    if path is None:
        _show(json_, "edge-moe", {
            "devices": ", ".join(sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))),
            "machines": ", ".join(f"{m.name} ({m.macs_per_cycle} MAC/cycle, 0x{m.fingerprint:016x})"
                                  for m in MACHINES.values())})
        return
    _show(json_, str(path), _info(path))


def _info(path: Path) -> dict:
    from golden.model.int_model import IntModel
    from golden.spec.image import Image
    from host.importers import import_checkpoint
    from host.program import is_program, is_quantized

    if is_program(path):
        image = Image.from_bytes(path.read_bytes())
        return {"kind": "program image", **_describe(image.model), "machine": image.machine.name,
                "programs": ", ".join(image.programs)}
    if is_quantized(path):
        model = IntModel.load(path)
        wide = sum(sum(vars(layer).values()) for layer in model.plan.layers)
        return {"kind": "quantized model", **_describe(model.config), "wide_operands": wide, "source": model.source}
    return {"kind": "float model", **_describe(import_checkpoint(path).config)}


def _describe(config: ModelConfig) -> dict:
    return {"model": config.name, "image": f"{config.image_height}x{config.image_width}", "tokens": config.tokens,
            "dim": config.dim, "depth": config.depth, "heads": config.heads, "moe_layers": len(config.moe_layers),
            "experts": config.experts, "top_k": config.top_k, "tasks": ", ".join(config.tasks), "macs": config.macs}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: a refusal becomes one sentence and exit status 2, a device or job that failed exit status 1."""
    try:
        app(arguments)
    except (UsageError, PictureError, ModelFileError, ProgramError, ConfigError, NotFitting, NothingFits, ClusterError,
            InputError, VersionMismatch) as error:
        _end(2, f"{type(error).__name__}: {error}")
    except AccelError as error:
        _end(1, f"{type(error).__name__}: {error}")
    except OSError as error:
        _end(2, f"{error.filename or 'file'}: {error.strerror or error}.")
    raise SystemExit(0)


def _end(status: int, message: str) -> NoReturn:
    print(f"edge-moe: {message}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
