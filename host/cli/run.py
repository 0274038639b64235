# SPDX-License-Identifier: Apache-2.0
"""Verbs ``run`` and ``accuracy``: a picture on a device, and the integer model against float."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.options import Json, Machine, Source
from host.cli.output import show

app = typer.Typer()


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
    show(json_, f"{path} on {picture}", facts)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def accuracy(context: typer.Context):
    """The integer model against float, layer by layer; `edge-moe accuracy --help` tells the options."""
    from host.report.accuracy import main as report

    raise typer.Exit(report(context.args) or 0)
