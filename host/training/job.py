# SPDX-License-Identifier: Apache-2.0
"""A training job from files to a file: sources, model, run, and the model file with its recipe and figures."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from golden.model.params import FloatModel
from golden.model.store import save_float
from golden.spec.model import ModelConfig
from host.datasets.folder import open_folder
from host.importers import import_checkpoint
from host.models import default_model
from host.progress import console
from host.progress import steps as progress
from host.scenes.classes import CLASSES
from host.training import checkpoint
from host.training.data import FolderSource, SceneSource, Source
from host.training.finetune import FINE_TUNING, model_for, split
from host.training.loop import train
from host.training.recipe import STREET, Recipe


@dataclass(frozen=True)
class Job:
    """What to train, from what, into what. ``recipe`` are the numbers that differ from the usual recipe."""

    output: Path
    work: Path
    data: Path | None = None
    validation: Path | None = None
    init: Path | None = None
    scratch: bool = False
    classes: int | None = None
    ignore: int | None = None
    resume: bool = False
    processes: int = 1
    recipe: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A job's model, recipe, pictures, start values and names of classes."""

    config: ModelConfig
    recipe: Recipe
    source: Source
    validation: Source
    init: FloatModel | None
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]


def run(job: Job) -> dict:
    """Train; returns what to tell the user."""
    plan = _scene_plan(job) if job.data is None else _folder_plan(job, job.data)
    earlier = checkpoint.load(job.work)[0].step if job.resume else 0
    with progress(f"train {plan.config.name}", earlier) as report:
        model, figures = train(plan.config, plan.recipe, plan.source, plan.validation, job.work, init=plan.init,
                               resume=job.resume, processes=job.processes, report=report,
                               note=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
    last = figures["history"][-1] if figures["history"] else {}
    notes = {"classes": plan.classes, "colours": plan.colours, "recipe": plan.recipe.to_json(), "figures": last,
             "steps": figures["steps"], "seconds": figures["seconds"],
             "data": "street scenes" if job.data is None else job.data.name}
    save_float(model, job.output, half=True, notes=notes)
    names = ("miou", "rmse", "rmse_ratio", "log_rmse", "relative_error")
    shown = {name: round(last[name], 4) for name in names if name in last}
    per_class = dict(zip(plan.classes, last.get("ious", ()), strict=False))
    return {"written": str(job.output), "bytes": job.output.stat().st_size, "steps": figures["steps"],
            "seconds": figures["seconds"], **shown, "iou_of_classes": per_class}


def _tell(line: str) -> None:
    print(f"edge-moe: {line}", file=sys.stderr)


def _scene_plan(job: Job) -> Plan:
    recipe = replace(Recipe(), **_scaled(job.recipe, Recipe()))
    init = None if job.init is None else import_checkpoint(job.init, note=_tell)
    config = STREET if init is None else init.config
    size = config.image_height, config.image_width
    sources = []
    for count, seed in ((recipe.validation_scenes, recipe.validation_seed), (recipe.scenes, recipe.seed)):
        with progress("render scenes") as report:
            sources.append(SceneSource(job.work / "scenes", count, seed, *size, workers=job.processes, report=report))
    return Plan(config, recipe, sources[1], sources[0], init, tuple(c.name for c in CLASSES),
                tuple(c.colour for c in CLASSES))


def _folder_plan(job: Job, data: Path) -> Plan:
    folder = open_folder(data, job.classes, job.ignore)
    if job.validation is None:
        folder, held_out = split(folder)
    else:
        held_out = open_folder(job.validation, folder.classes or job.classes, job.ignore)
    start = job.init or default_model()
    init = None if job.scratch or start is None else import_checkpoint(start, note=_tell)
    config = model_for(folder, init, job.output.name.split(".")[0])
    sources = []
    for part in (folder, held_out):
        with progress("read pictures") as report:
            sources.append(FolderSource(part, config.image_height, config.image_width, report))
    return Plan(config, replace(FINE_TUNING, **_scaled(job.recipe, FINE_TUNING)), sources[0], sources[1], init,
                folder.classes, folder.colours)


def _scaled(given: dict, usual: Recipe) -> dict:
    """The numbers given; a short run also gets a short warm-up."""
    steps = given.get("steps", usual.steps)
    return given | {"warmup": min(usual.warmup, steps // 5)}
