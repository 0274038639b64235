# SPDX-License-Identifier: Apache-2.0
"""Verb ``evaluate``: accuracy of a model's task heads on a set of pictures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from host.cli.options import Json
from host.cli.output import UsageError

app = typer.Typer()


@app.command()
def evaluate(model: Annotated[Path | None, typer.Argument(help="Model with task heads; the street model that comes "
                                                               "with the package when none is given.")] = None,
             data: Annotated[Path | None, typer.Option(help="Folder with image and label or depth; rendered street "
                                                            "scenes when none is given.")] = None,
             count: Annotated[int, typer.Option(help="How many scenes.")] = 300,
             seed: Annotated[int, typer.Option(help="Series of scenes; training uses 0.")] = 1,
             classes: Annotated[int | None, typer.Option(help="Classes of labels, if no dataset.json tells.")] = None,
             ignore: Annotated[int | None, typer.Option(help="Label that counts nowhere.")] = None,
             device: Annotated[str, typer.Option(help="What computes: float, golden (the integer "
                                                 "network), sim or uio.")] = "float",
             baseline: Annotated[bool, typer.Option("--baseline", help="Also a classifier that sees single colours "
                                                                       "only, trained on scenes of series 0.")] = False,
             scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler; every core of this "
                                                                "machine when none is given.")] = None,
             json_: Json = False):
    """Accuracy of a model on a set of pictures: mIoU, RMSE, log-RMSE, relative error."""
    from importlib.metadata import entry_points

    from golden.spec.model import require
    from host.datasets import open_folder
    from host.datasets.scene_set import SceneSet
    from host.driver.device import ENTRY_POINTS
    from host.evaluation import baseline as colours
    from host.evaluation import evaluate as job
    from host.evaluation.metrics import mean_iou
    from host.evaluation.predictors import MODELS
    from host.models import default_model
    from host.program import config_of
    from host.progress import steps, tell

    model = model or default_model()
    if model is None:
        raise UsageError("No model comes with this checkout: name one.")
    known = sorted({*MODELS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})
    require(device.partition(":")[0] in known, f"device must be one of {', '.join(known)}, not {device!r}.")
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
        facts["colour_classifier"] = {"miou": round(mean_iou(matrix), 5)}
    if json_:
        print(json.dumps(facts))
    else:
        _print(facts)


def _print(facts: dict) -> None:
    """A table of the figures: one row each, those of a task under its name."""
    from rich.table import Table

    from host.progress import printer
    table = Table(title=f"{facts['model']} on {facts['data']}, {facts['pictures']} pictures, {facts['device']}")
    for column in ("task", "figure", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for task, figures in facts.items():
        if not isinstance(figures, dict):
            continue
        for name, value in figures.items():
            for part, number in (value.items() if isinstance(value, dict) else (("", value),)):
                table.add_row(task, f"{name} {part}".replace("_", " ").strip(),
                              "does not occur" if number is None else f"{number:.4f}")
    printer().print(table)
