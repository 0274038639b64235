# SPDX-License-Identifier: Apache-2.0
"""Verb ``explore``: a search over machine configurations."""

import json
from pathlib import Path
from typing import Annotated

import typer

from golden.spec.boards import BOARDS
from host.cli.options import Json
from host.cli.output import DRAWINGS, check_output

app = typer.Typer()


@app.command()
def explore(board: Annotated[str, typer.Option(help=f"Board: {', '.join(BOARDS)}.")] = "zcu102",
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

    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
    check_output(picture, Path(model), suffixes=DRAWINGS)
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
