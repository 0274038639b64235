# SPDX-License-Identifier: Apache-2.0
"""``edge-moe accuracy``: compares the integer model with float, by layer, at the output and in its tasks.

Calibration uses photographs that are not measured; some photographs are held out for measurement. The reference
weights are measured where they are available, seeded weights always, and the street model on rendered scenes that it
has not seen: mIoU and RMSE in float and in integers, with thresholds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from golden.model.params import FloatModel
from golden.model.reference_data import reference_folder, reference_image
from golden.model.synthetic import synthetic_model
from golden.spec.model import M3VIT_TINY, require
from host.images import fitted, read_picture
from host.importers import import_checkpoint
from host.models import default_model
from host.progress import printer, steps, tell
from host.quantizer.crops import crops
from host.quantizer.quantize import quantize
from host.report import street as street_model
from host.report.compare import Comparer, Comparison
from host.report.error_pictures import save_error_by_layer
from host.report.thresholds import HELD_OUT, LIMITS, Threshold, held_out, reference_thresholds, street_crops

SEEDED = replace(M3VIT_TINY, name="m3vit-seeded", image_width=128, depth=4, moe_layers=(1, 3), experts=8)
SEEDED_SQNR = {"fast": 31.0, "mixed": 31.0, "accurate": 36.0}
"""Thresholds in dB at the output of seeded weights, for the median over held-out photographs and tasks; the minimum
would depend on single tokens whose experts change."""
PLANS, CASES = ("fast", "accurate", "mixed", "w4"), ("seeded", "reference", "street")
COLUMNS = ("case", "picture", "task", "figure", "value", "limit", "met")


def measure(model: FloatModel, plan: str, pictures: dict[str, np.ndarray], count: int | None = None,
            cycle_budget: int | None = None) -> list[Comparison]:
    """Quantize ``model`` on photographs (not the held-out ones) and compare it on every picture and task."""
    config = model.config
    with steps(f"quantize {config.name}, {plan}") as report:
        integer = quantize(model, crops(config, count, exclude=HELD_OUT), plan, progress=report,
                           cycle_budget=cycle_budget)
    comparer = Comparer(model, integer)
    pairs = [(name, task) for name in pictures for task in config.tasks]
    with steps(f"compare {config.name}, {plan}") as report:
        results = []
        for i, (name, task) in enumerate(pairs):
            results.append(comparer.compare(name, pictures[name], task))
            report(i + 1, len(pairs), f"{name}, {task}")
    return results


def layer_table(result: Comparison, title: str) -> Table:
    table = Table("after", "MSE", "MAE", "cosine", "SQNR dB", "range", "experts changed",
                  title=f"{title}: {result.picture}, {result.task}")
    for layer in result.layers:
        e = layer.error
        table.add_row(layer.name, f"{e.mse:.2e}", f"{e.mae:.4f}", f"{e.cosine:.6f}", f"{e.sqnr:.1f}",
                      f"{layer.low:.1f}..{layer.high:.1f}",
                      "" if layer.changed is None else f"{100 * layer.changed:.1f} %")
    return table


def output_table(results: Iterable[Comparison], title: str) -> Table:
    table = Table("picture", "task", "MSE", "MAE", "cosine", "SQNR dB", "experts changed", "clipped values",
                  title=title)
    for r in results:
        table.add_row(r.picture, r.task, f"{r.output.mse:.2e}", f"{r.output.mae:.4f}", f"{r.output.cosine:.6f}",
                      f"{r.output.sqnr:.1f}", f"{100 * r.changed:.1f} %",
                      f"{sum(clipped for _, _, clipped, _ in r.saturations):,}")
    return table


def saturation_table(results: Iterable[Comparison]) -> Table:
    """Saturation counters over all pictures, largest first."""
    totals: dict[tuple[str, str], list[int]] = {}
    for r in results:
        for place, kind, clipped, seen in r.saturations:
            entry = totals.setdefault((place, kind), [0, 0])
            entry[0] += clipped
            entry[1] += seen
    table = Table("place", "kind", "clipped", "of", title="saturations, most first")
    for (place, kind), (clipped, seen) in sorted(totals.items(), key=lambda item: -item[1][0])[:12]:
        table.add_row(place, kind, f"{clipped:,}", f"{seen:,}")
    return table


def threshold_table(thresholds: list[Threshold], title: str) -> Table:
    table = Table("figure", "threshold", "measured", "met", title=title)
    for threshold in thresholds:
        table.add_row(threshold.what, f"{'>=' if threshold.at_least else '<='} {threshold.limit:g}",
                      f"{threshold.measured:.4g}", "yes" if threshold.met else "NO")
    return table


@dataclass(frozen=True)
class Wanted:
    """What to measure. ``model``: a checkpoint instead of the reference folder, on ``images``; ``plan``: a plan or
    "all"; ``only``: "seeded", "reference" or "street" instead of all three; ``crops``: calibration crops, if not the
    model's own number; ``scenes`` for the street model; ``out``: folder of the pictures; ``tables``: where to print.
    """

    model: Path | None = None
    images: tuple[Path, ...] = ()
    plan: str = "all"
    cycle_budget: int | None = None
    crops: int | None = None
    only: str | None = None
    scenes: int = street_model.SCENES
    out: Path = Path("out/accuracy")
    tables: Console = field(default_factory=printer)

    @property
    def plans(self) -> tuple[str, ...]:
        """Plans to measure."""
        return ("fast", "accurate") if self.plan == "all" else (self.plan,)


def report(wanted: Wanted) -> dict[str, dict]:
    """Measure, print the tables and save the plots; the figures by case, each with its ``thresholds``."""
    require(wanted.plan in (*PLANS, "all"), f"The plan is one of {', '.join(PLANS)} or all, not {wanted.plan!r}.")
    require(wanted.only in (None, *CASES), f"What to measure is one of {', '.join(CASES)}, not {wanted.only!r}.")
    wanted.out.mkdir(parents=True, exist_ok=True)  # before minutes of work
    own = wanted.model is not None
    figures: dict[str, dict] = {}
    if wanted.only in (None, "reference"):
        folder = wanted.model or reference_folder()
        if folder is None:
            wanted.tables.print("the reference folder is not here: only seeded weights are measured", highlight=False)
        else:
            figures |= _of_checkpoint(folder, wanted)
    if wanted.only in (None, "seeded") and not own:
        figures |= _of_seeded(wanted)
    if wanted.only in (None, "street") and not own and default_model() is not None:
        figures |= _of_street(wanted)
    wanted.tables.print(f"pictures in {wanted.out}", highlight=False)
    return figures


def met(figures: dict[str, dict]) -> bool:
    """Whether no threshold is missed."""
    return all(threshold["met"] for case in figures.values() for threshold in case["thresholds"])


def rows(figures: dict[str, dict]) -> Iterator[dict]:
    """The figures and thresholds, one a row, by :data:`COLUMNS`."""
    def row(*values) -> dict:
        return dict(zip(COLUMNS, values, strict=True))

    for case, found in figures.items():
        for each in found["thresholds"]:
            yield row(case, "", "", each["what"], each["measured"], each["limit"], each["met"])
        for each in found.get("pictures", ()):
            for name, value in each.items():
                if name not in ("picture", "task"):
                    yield row(case, each["picture"], each["task"], name, value, None, None)
        for part, tasks in found.items():
            for task, of_task in tasks.items() if isinstance(tasks, dict) else ():
                for name, value in of_task.items() if isinstance(of_task, dict) else ():
                    for detail, number in value.items() if isinstance(value, dict) else (("", value),):
                        yield row(f"{case}, {part}", "", task, f"{name} {detail}".strip(), number, None, None)


def _of_checkpoint(folder: Path, wanted: Wanted) -> dict[str, dict]:
    """The reference weights, or a checkpoint of one's own, for which there are no thresholds."""
    model = import_checkpoint(folder, note=tell)
    config, own = model.config, wanted.model is not None
    if own:
        pictures = {str(path): fitted(read_picture(path), config) for path in wanted.images} or held_out(config)
    else:
        street = reference_image(folder)
        pictures = {"street": street, **street_crops(street, config), **held_out(config)}
    found = {}
    for plan in wanted.plans:
        results = measure(model, plan, pictures, wanted.crops, wanted.cycle_budget)
        thresholds = [] if own or plan not in LIMITS else reference_thresholds(plan, results, config.tasks[0])
        found[f"{config.name}, {plan}"] = _told(f"{config.name}, {plan}", results, thresholds, wanted)
    return found


def _of_seeded(wanted: Wanted) -> dict[str, dict]:
    """Seeded weights, which every checkout has."""
    model, found = synthetic_model(SEEDED, seed=1), {}
    for plan in wanted.plans:
        results = measure(model, plan, held_out(SEEDED), wanted.crops, wanted.cycle_budget)
        thresholds = [Threshold("held-out photographs: median SQNR, dB", SEEDED_SQNR[plan],
                      float(np.median([r.output.sqnr for r in results])), True)] if plan in SEEDED_SQNR else []
        found[f"{SEEDED.name}, {plan}"] = _told(f"{SEEDED.name}, {plan}", results, thresholds, wanted)
    return found


def _of_street(wanted: Wanted) -> dict[str, dict]:
    """The street model, in mIoU and RMSE on rendered scenes."""
    found = street_model.measure([plan for plan in wanted.plans if plan in street_model.MOST_LOSS], wanted.scenes)
    limits = street_model.thresholds(found)
    wanted.tables.print(street_model.table(found))
    wanted.tables.print(threshold_table(limits, "street model: thresholds"))
    return {"street model": {"thresholds": [vars(limit) | {"met": limit.met} for limit in limits], **found}}


def _told(title: str, results: list[Comparison], thresholds: list[Threshold], wanted: Wanted) -> dict:
    """Print the tables and save the plot; returns the figures as a JSON-ready dictionary."""
    for table in (layer_table(results[0], title), output_table(results, title), saturation_table(results),
                  threshold_table(thresholds, f"{title}: thresholds")):
        wanted.tables.print(table)
    save_error_by_layer(title, results, wanted.out / f"{title.replace(', ', '-')}.png")
    return {"thresholds": [vars(threshold) | {"met": threshold.met} for threshold in thresholds],
            "pictures": [{"picture": r.picture, "task": r.task, "changed": r.changed, **vars(r.output)}
                         for r in results]}
