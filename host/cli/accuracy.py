# SPDX-License-Identifier: Apache-2.0
"""Verb ``accuracy``: the integer model against float."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.verb import MEASURE, verb
from host.cli.options import Csv, Json, among
from host.cli.output import Form, form_of, print_csv, print_json

app = typer.Typer()


@verb(app, MEASURE, "edge-moe accuracy --only seeded --plan fast --crops 4",
      "edge-moe accuracy --model model.safetensors --images picture.jpg --csv")
def accuracy(model: Annotated[Path | None, typer.Option(help="A checkpoint of your own instead of the reference "
                                                             "folder.")] = None,
             images: Annotated[list[Path] | None, typer.Option(help="Pictures to measure on, with --model.")] = None,
             plan: Annotated[str, typer.Option(help="fast, accurate, mixed or w4; all: fast and accurate.",
                                               autocompletion=among("all", "fast", "accurate", "mixed", "w4"))] = "all",
             cycle_budget: Annotated[int | None, typer.Option(help="Cycles a frame may take (mixed).")] = None,
             crops: Annotated[int | None, typer.Option(help="Calibration crops, if not the model's own number.")]
             = None,
             only: Annotated[str | None, typer.Option(help="seeded, reference or street: leave out the others.",
                                                      autocompletion=among("seeded", "reference", "street"))] = None,
             scenes: Annotated[int | None, typer.Option(help="Rendered scenes for the street model, if not the usual "
                                                             "number.")] = None,
             out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("out/accuracy"),
             json_: Json = False, csv_: Csv = False):
    """Compare the integer model with float, layer by layer.

    At the output, and in mIoU and RMSE of the street model as well. Exit status 1 when a threshold is missed."""
    from rich.console import Console

    from host.progress import printer
    from host.report import accuracy as job
    from host.report.street import SCENES

    form = form_of(json_, csv_)
    figures = job.report(job.Wanted(
        model, tuple(images or ()), plan, cycle_budget, crops, only, SCENES if scenes is None else scenes, out,
        printer() if form is Form.TABLE else Console(quiet=True)))
    if form is Form.JSON:
        print_json(figures)
    elif form is Form.CSV:
        print_csv(job.rows(figures), job.COLUMNS)
    raise typer.Exit(0 if job.met(figures) else 1)
