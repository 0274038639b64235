# SPDX-License-Identifier: Apache-2.0
"""Verb ``evaluate``: accuracy of a model's task heads on a set of pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.verb import MEASURE, verb
from host.cli.options import Csv, Json, Scheduler, among
from host.cli.output import Form, UsageError, form_of, print_csv, print_json

app = typer.Typer()


@verb(app, MEASURE, "edge-moe evaluate --count 20", "edge-moe evaluate model.safetensors --data FOLDER",
      "edge-moe evaluate model.emoe --data FOLDER --device golden --csv")
def evaluate(model: Annotated[Path | None, typer.Argument(help="Model with task heads; the street model that comes "
                                                               "with the package when none is given.")] = None,
             data: Annotated[Path | None, typer.Option(help="Folder with image and label or depth; rendered street "
                                                            "scenes when none is given.")] = None,
             count: Annotated[int, typer.Option(help="How many scenes.")] = 300,
             seed: Annotated[int, typer.Option(help="Series of scenes; training uses 0.")] = 1,
             classes: Annotated[int | None, typer.Option(help="Classes of labels, if no dataset.json tells.")] = None,
             ignore: Annotated[int | None, typer.Option(help="Label that counts nowhere.")] = None,
             device: Annotated[str, typer.Option(help="What computes: float, golden (the integer "
                                                 "network), sim or uio.",
                                            autocompletion=among("float", "golden", "sim", "uio"))] = "float",
             baseline: Annotated[bool, typer.Option("--baseline", help="Also a classifier that sees single colours "
                                                                       "only, trained on scenes of series 0.")] = False,
             scheduler: Scheduler = None, json_: Json = False, csv_: Csv = False):
    """Measure mIoU, RMSE and others on a set of pictures."""
    from golden.spec.model import require
    from host.datasets import open_folder
    from host.datasets.scene_set import SceneSet
    from host.driver.device import device_names, no_device
    from host.evaluation import baseline as colours
    from host.evaluation import evaluate as job
    from host.evaluation.metrics import mean_iou
    from host.evaluation.predictors import MODELS
    from host.models import default_model
    from host.program import config_of
    from host.progress import steps, tell

    form, model = form_of(json_, csv_), model or default_model()
    if model is None:
        raise UsageError("No model comes with this checkout: name one.")
    known, kind = {*MODELS, *device_names()}, device.partition(":")[0]
    require(kind in known, no_device(kind, known))
    config = config_of(model, tell)
    require(bool(config.task_heads), f"The model {config.name!r} has no task heads; there is nothing to evaluate.")
    size = config.image_height, config.image_width
    pictures = SceneSet(count, seed, *size) if data is None else open_folder(data, classes, ignore)
    with steps(f"evaluate {config.name} on {device}") as report:
        result = job.evaluate(model, pictures, device, scheduler=scheduler,
                              report=lambda done, total: report(done, total, "pictures"))
    facts = {"model": config.name, "device": device, "data": f"scenes of series {seed}" if data is None else str(data),
             **result.figures(pictures.classes)}
    if baseline and data is None:
        with steps("colour classifier") as report:
            matrix = colours.colour_classifier(SceneSet(colours.SCENES, 0, *size), pictures,
                                               lambda done, total: report(done, total, "scenes"))
        facts["colour_classifier"] = {"miou": mean_iou(matrix)}
    if form is Form.JSON:
        print_json(facts)
    elif form is Form.CSV:
        print_csv(({"task": task, "figure": name, "part": part, "value": value}
                   for task, name, part, value in _figures(facts)), ("task", "figure", "part", "value"))
    else:
        _print(facts)


def _print(facts: dict) -> None:
    """A table of the figures: one row each, those of a task under its name."""
    from rich.table import Table

    from host.progress import printer
    table = Table(title=f"{facts['model']} on {facts['data']}, {facts['pictures']} pictures, {facts['device']}")
    for column in ("task", "figure", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for task, name, part, number in _figures(facts):
        table.add_row(task, f"{name} {part}".replace("_", " ").strip(),
                      "does not occur" if number is None else f"{number:.4f}")
    printer().print(table)


def _figures(facts: dict) -> Iterator[tuple[str, str, str, float | None]]:
    """Task, figure, class (empty where the figure is of all) and value."""
    for task, figures in facts.items():
        for name, value in figures.items() if isinstance(figures, dict) else ():
            for part, number in value.items() if isinstance(value, dict) else (("", value),):
                yield task, name, part, number
