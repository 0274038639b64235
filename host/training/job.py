# SPDX-License-Identifier: Apache-2.0
"""A training job from files to a file: sources, model, run, and the model file with its recipe and figures."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from golden.model.params import FloatModel
from golden.model.store import save_float
from golden.spec.model import ModelConfig
from host.datasets.folder import open_folder
from host.importers import import_checkpoint
from host.models import SCENE_DATA, default_model
from host.progress import console, tell
from host.progress import steps as progress
from host.scenes.classes import CLASSES
from host.training import checkpoint
from host.training.data import FolderSource, SceneSource, Source
from host.training.finetune import FINE_TUNING, model_for, split
from host.training.loop import train
from host.training.recipe import FINISHING, STREET, Recipe
from host.training.refit import refit_depth


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
    """Train; returns what to tell the user. Scenes are trained on in two stages, unless ``job`` says how many steps."""
    plan = _scene_plan(job, Recipe()) if job.data is None else _folder_plan(job, job.data)
    model, figures = _trained(job, plan, job.work, job.resume)
    notes: dict = {"recipe": plan.recipe.to_json(), "steps": figures["steps"], "seconds": figures["seconds"]}
    if job.data is None and job.init is None and "steps" not in job.recipe:
        plan, work = replace(_scene_plan(job, FINISHING), init=model), job.work / "finishing"
        model, figures = _trained(job, plan, work, job.resume and (work / checkpoint.FILE).exists())
        notes |= {"finishing": plan.recipe.to_json(), "seconds": notes["seconds"] + figures["seconds"]}
    if any(head.kind == "depth" for head in plan.config.task_heads):
        with progress("refit the depth head") as report:
            model = refit_depth(model, plan.source, report)
    last = figures["history"][-1] if figures["history"] else {}
    notes |= {"classes": plan.classes, "colours": plan.colours, "figures": last,
              "data": SCENE_DATA if job.data is None else job.data.name}
    save_float(model, job.output, half=True, notes=notes)
    names = ("miou", "rmse", "rmse_ratio", "log_rmse", "relative_error")
    shown = {name: last[name] for name in names if name in last}
    per_class = dict(zip(plan.classes, last.get("ious", ()), strict=False))
    return {"written": str(job.output), "bytes": job.output.stat().st_size, "steps": notes["steps"],
            "seconds": notes["seconds"], **shown, "iou_of_classes": per_class}


def _trained(job: Job, plan: Plan, work: Path, resume: bool) -> tuple[FloatModel, dict]:
    """Float model and figures of one stage, whose checkpoint lies in ``work``."""
    earlier = checkpoint.load(work)[0].step if resume else 0
    with progress(f"train {plan.config.name}", earlier) as report:
        return train(plan.config, plan.recipe, plan.source, plan.validation, work, init=plan.init, resume=resume,
                     processes=job.processes, report=report,
                     note=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))


def _scene_plan(job: Job, usual: Recipe) -> Plan:
    recipe = replace(usual, **_scaled(job.recipe, usual))
    init = None if job.init is None else import_checkpoint(job.init, note=tell)
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
    init = None if job.scratch or start is None else import_checkpoint(start, note=tell)
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
