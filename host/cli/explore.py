# SPDX-License-Identifier: Apache-2.0
"""Verb ``explore``: a search over machine configurations."""

from pathlib import Path
from typing import Annotated

import typer

from golden.spec.boards import BOARDS
from golden.spec.model import MODELS
from host.cli.common.verb import MACHINES, verb
from host.cli.options import Csv, Json, Scheduler, among
from host.cli.output import DRAWINGS, Form, check_output, form_of, print_csv, print_json

app = typer.Typer()


@verb(app, MACHINES, "edge-moe explore --board kv260 --model nano",
      "edge-moe explore --model model.q.safetensors --picture front.png",
      "edge-moe explore --board zcu104 --model deit-tiny --csv")
def explore(board: Annotated[str, typer.Option(help=f"Board: {', '.join(BOARDS)}.",
                                               autocompletion=among(*BOARDS))] = "zcu102",
            model: Annotated[str, typer.Option(help="Quantized model file, or a preset, all of whose experts are hit.",
                                               autocompletion=among(*MODELS))] = "m3vit-tiny",
            plan: Annotated[str, typer.Option(help="Plan of a preset: fast or accurate.",
                                              autocompletion=among("fast", "accurate"))] = "fast",
            task: Annotated[str | None, typer.Option(help="A task, or all of them joined by +; the first when none is "
                                                     "named.")] = None,
            fill: Annotated[float, typer.Option(help="How much of each resource may be used.")] = 0.7,
            points: Annotated[int, typer.Option(help="Rows of the table.")] = 20,
            scheduler: Scheduler = None,
            picture: Annotated[Path | None, typer.Option(help="Draw the front into this file.")] = None,
            json_: Json = False, csv_: Csv = False):
    """Search machine configurations for a board.

    Prints the Pareto front of cycles, DSP, LUT and BRAM, and what limits each machine."""
    from host.explore import command
    from host.explore.search import search
    from host.progress import printer, steps

    form = form_of(json_, csv_)
    if picture is not None:
        from host.explore.picture import save_pareto_front  # before the search, which takes long

        picture.parent.mkdir(parents=True, exist_ok=True)
    check_output(picture, Path(model), suffixes=DRAWINGS)
    where, network = command.board_named(board), command.model_named(model, plan)
    tasks = command.tasks_named(network, task)
    with steps(f"explore {where.name}") as report:
        found = search(command.skeleton_of(network, tasks), tasks, where, fill, scheduler=scheduler, report=report)
    name = network.config.name
    if picture is not None:
        save_pareto_front(found, f"{name} on {where.name}: {len(found.points)} machines that fit", picture)
    if form is Form.JSON:
        print_json(command.as_json(found, name, tasks))
        return
    if form is Form.CSV:
        print_csv(command.rows(found))
        return
    printer().print(command.table(found, f"{name} ({'+'.join(tasks)}) on {where.name}, filled to {fill:.0%}: "
                                  f"{len(found.pareto_front)} of {len(found.points)} that fit are best", points))
