# SPDX-License-Identifier: Apache-2.0
"""Verbs ``scenes`` and ``train``: pictures with labels and depth, and models that learn from them."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.verb import TRAIN, verb
from host.cli.options import Csv, Json, Scheduler
from host.cli.output import MODELS, check_output, form_of, show

app = typer.Typer()

Size = Annotated[str, typer.Option("--size", help="HEIGHTxWIDTH, multiples of 16.")]


@verb(app, TRAIN, "edge-moe scenes -o FOLDER --count 300", "edge-moe scenes -o FOLDER --count 30 --drive")
def scenes(output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
           count: Annotated[int, typer.Option(help="How many scenes.")] = 100,
           seed: Annotated[int, typer.Option(help="Series of scenes; training uses 0, measuring 1.")] = 1,
           first: Annotated[int, typer.Option(help="Number of the first scene.")] = 0,
           drive: Annotated[bool, typer.Option("--drive", help="Pictures on the way through one scene, the first, "
                                               "instead of one of each.")] = False,
           size: Size = "128x256", scheduler: Scheduler = None, json_: Json = False, csv_: Csv = False):
    """Render street scenes with classes and depth.

    The folder holds a picture, the class and the depth of every pixel for each scene."""
    from host.progress import steps
    from host.scenes.write import write_scenes

    form, (height, width) = form_of(json_, csv_), size_of(size)
    with steps("scenes") as report:
        new = write_scenes(output, count, seed, height, width, first=first, drive=drive, scheduler=scheduler,
                           report=lambda done, total: report(done, total, "scenes"))
    show(form, f"scenes in {output}", {"folder": str(output), "scenes": count, "rendered": new, "seed": seed,
                                        "size": size})


@verb(app, TRAIN, "edge-moe train -o model.safetensors --data FOLDER", "edge-moe train -o model.safetensors --resume")
def train(output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
          data: Annotated[Path | None, typer.Option(help="Folder with image, label, depth; rendered street scenes when "
                                                         "none is given.")] = None,
          validation: Annotated[Path | None, typer.Option(help="Folder to measure on; every tenth picture of the "
                                                               "data when none is given.")] = None,
          init: Annotated[Path | None, typer.Option(help="Float model to start from; for a folder, the street model "
                                                         "that comes with the package when none is given.")] = None,
          scratch: Annotated[bool, typer.Option("--scratch", help="Start from random weights.")] = False,
          classes: Annotated[int | None, typer.Option(help="Classes of labels, where no dataset.json tells.")] = None,
          ignore: Annotated[int | None, typer.Option(help="Label that counts nowhere.")] = None,
          work: Annotated[Path | None, typer.Option(help="Folder of checkpoints and rendered scenes; OUTPUT.run when "
                                                         "none is given.")] = None,
          resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
          steps: Annotated[int | None, typer.Option(help="Steps in all.")] = None,
          batch: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
          rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
          scenes: Annotated[int | None, typer.Option(help="Rendered scenes to learn from.")] = None,
          seed: Annotated[int | None, typer.Option(help="Seed of weights, order and scenes.")] = None,
          processes: Annotated[int | None, typer.Option(help="Worker processes; every core when not given.")] = None,
          json_: Json = False, csv_: Csv = False):
    """Train or fine-tune a model with task heads.

    For segmentation and depth: on rendered street scenes, or on a folder of pictures."""
    from host.training.job import Job, run

    form = form_of(json_, csv_)
    given = {key: value for key, value in (("steps", steps), ("batch", batch), ("rate", rate), ("scenes", scenes),
                                           ("seed", seed)) if value is not None}
    output.parent.mkdir(parents=True, exist_ok=True)
    check_output(output, init, suffixes=MODELS)
    work = output.with_suffix(".run") if work is None else work
    job = Job(output=output, work=work, data=data, validation=validation, init=init, scratch=scratch, classes=classes,
              ignore=ignore, resume=resume, processes=processes or os.cpu_count() or 1, recipe=given)
    facts = run(job)
    show(form, f"trained {output}", facts)


def size_of(text: str) -> tuple[int, int]:
    """Height and width of ``HEIGHTxWIDTH``, multiples of 16."""
    from golden.spec.model import require
    from host.training.recipe import STREET

    parts = text.lower().split("x")
    require(len(parts) == 2 and all(p.isdigit() and int(p) > 0 for p in parts),
            f"A size is HEIGHTxWIDTH, like 128x256, not {text!r}.")
    height, width = map(int, parts)
    replace(STREET, image_height=height, image_width=width)  # refuses what is no whole number of patches
    return height, width
