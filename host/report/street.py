# SPDX-License-Identifier: Apache-2.0
"""Task accuracy of the street model that comes with the package: float and both plans, on scenes it has not seen."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from host.datasets.scene_set import SceneSet
from host.evaluation import baseline
from host.evaluation.evaluate import evaluate
from host.evaluation.metrics import mean_iou
from host.importers import import_checkpoint
from host.models import STREET_MODEL
from host.models.calibration import TRAINING_SERIES, calibration_pictures
from host.progress import steps
from host.quantizer.quantize import quantize
from host.report.thresholds import Threshold

SERIES, SCENES = 2, 300
"""The scenes that are measured: neither training nor its validation sees this series."""
LEAST_MIOU, MOST_BASELINE, MOST_DEPTH_RATIO = 0.70, 0.45, 0.4
MOST_LOSS = {"fast": 1.0, "accurate": 0.3}
"""Points of mIoU that the integer network may lose."""
MOST_DEPTH_LOSS = {"fast": 1.03, "accurate": 1.01}
"""RMSE of depth in integers over that in float, at most."""


def measure(plans: Iterable[str], count: int = SCENES, model_file: Path = STREET_MODEL) -> dict[str, dict]:
    """Figures of :meth:`host.evaluation.result.Result.figures` for ``float``, each plan and ``colours``."""
    model = import_checkpoint(model_file)
    size = model.config.image_height, model.config.image_width
    scenes = SceneSet(count, SERIES, *size)
    found = {"float": _evaluated("float", model_file, scenes, "float")}
    for plan in plans:
        with steps(f"quantize {model.config.name}, {plan}") as report:
            integer = quantize(model, calibration_pictures(model.config, scenes=True)[0], plan, progress=report)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.q.safetensors"
            integer.save(path)
            found[plan] = _evaluated(plan, path, scenes, "golden")
    with steps("colour classifier") as report:
        matrix = baseline.colour_classifier(SceneSet(baseline.SCENES, TRAINING_SERIES, *size), scenes,
                                   lambda done, total: report(done, total, "scenes"))
    found["colours"] = {"semseg": {"miou": mean_iou(matrix)}}
    return found


def _evaluated(title: str, path: Path, scenes: SceneSet, device: str) -> dict:
    with steps(f"street scenes, {title}") as report:
        return evaluate(path, scenes, device, report=lambda done, total: report(done, total, "scenes")
                        ).figures(scenes.classes)


def table(found: dict[str, dict]) -> Table:
    """A row for each figure, a column for each arithmetic."""
    columns = [name for name in found if name != "colours"]
    result = Table("task", "figure", *columns, title=f"street model on {found['float']['pictures']} unseen scenes")
    for task in ("semseg", "depth"):
        for name, value in found["float"][task].items():
            of_column = [found[column][task][name] for column in columns]
            if isinstance(value, dict):
                for part in value:
                    result.add_row(task, f"{name} {part}", *(_shown(figures[part]) for figures in of_column))
            else:
                result.add_row(task, name.replace("_", " "), *map(_shown, of_column))
    return result


def _shown(value) -> str:
    return "does not occur" if value is None else f"{value:.4f}"


def thresholds(found: dict[str, dict]) -> list[Threshold]:
    """What the shipped model must reach, and what integers may lose."""
    real = found["float"]
    result = [
        Threshold("mIoU, float", LEAST_MIOU, real["semseg"]["miou"], True),
        Threshold("mIoU of a classifier of single colours", MOST_BASELINE, found["colours"]["semseg"]["miou"]),
        Threshold("depth RMSE over predicting the mean", MOST_DEPTH_RATIO,
                  real["depth"]["rmse_over_predicting_the_mean"])]
    for plan in [plan for plan in MOST_LOSS if plan in found]:
        integer = found[plan]
        result += [
            Threshold(f"{plan}: points of mIoU lost", MOST_LOSS[plan],
                      100 * (real["semseg"]["miou"] - integer["semseg"]["miou"])),
            Threshold(f"{plan}: depth RMSE over float", MOST_DEPTH_LOSS[plan],
                      integer["depth"]["rmse"] / real["depth"]["rmse"])]
    return result
