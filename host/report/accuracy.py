# SPDX-License-Identifier: Apache-2.0
"""``make accuracy``: compares the integer model with float, per layer, at the output and in its tasks, with thresholds.

Calibration uses photographs that are not measured; some photographs are held out for measurement. The reference
weights are measured where they are available, seeded weights always, and the street model on rendered scenes that it
has not seen: mIoU and RMSE in float and in integers. Exit status 1 when a threshold is missed.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.table import Table

from golden.model.params import FloatModel
from golden.model.reference_data import reference_folder, reference_image
from golden.model.synthetic import synthetic_model
from golden.spec.model import M3VIT_TINY
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
out = printer()


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


def report(title: str, slug: str, results: list[Comparison], thresholds: list[Threshold], folder: Path) -> dict:
    """Print the tables and save the plot; returns the figures as a JSON-ready dictionary."""
    out.print(layer_table(results[0], title))
    out.print(output_table(results, title))
    out.print(saturation_table(results))
    out.print(threshold_table(thresholds, f"{title}: thresholds"))
    save_error_by_layer(title, results, folder / f"{slug}.png")
    return {"thresholds": [vars(threshold) | {"met": threshold.met} for threshold in thresholds],
            "pictures": [{"picture": r.picture, "task": r.task, "changed": r.changed, **vars(r.output)}
                         for r in results]}


def main(arguments: list[str] | None = None, command: str = "make accuracy") -> int:
    parser = argparse.ArgumentParser(prog=command, description=__doc__)
    parser.add_argument("--model", type=Path, help="a checkpoint of your own instead of the reference folder")
    parser.add_argument("--images", type=Path, nargs="*", help="pictures to measure on, with --model")
    parser.add_argument("--plan", default="all", choices=("fast", "accurate", "mixed", "w4", "all"))
    parser.add_argument("--cycle-budget", type=int, help="cycles a frame may take (mixed)")
    parser.add_argument("--crops", type=int, help="calibration crops, if not the model's default")
    parser.add_argument("--only", choices=("seeded", "reference", "street"), help="leave out the others")
    parser.add_argument("--scenes", type=int, default=street_model.SCENES, help="scenes for the street model")
    parser.add_argument("--out", type=Path, default=Path("out/accuracy"))
    parser.add_argument("--json", action="store_true", help="also print one JSON object")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)  # before minutes of work
    plans = ("fast", "accurate") if options.plan == "all" else (options.plan,)
    figures: dict[str, dict] = {}

    folder = options.model or reference_folder()
    if folder is not None and options.only in (None, "reference"):
        model = import_checkpoint(folder, note=tell)
        config = model.config
        own = options.model is not None
        if own:
            pictures = {str(path): fitted(read_picture(path), config) for path in options.images or ()}
            pictures = pictures or held_out(config)
        else:
            street = reference_image(folder)
            pictures = {"street": street, **street_crops(street, config), **held_out(config)}
        for plan in plans:
            results = measure(model, plan, pictures, options.crops, options.cycle_budget)
            thresholds = [] if own or plan not in LIMITS else reference_thresholds(plan, results, config.tasks[0])
            title = f"{config.name}, {plan}"
            figures[title] = report(title, f"{config.name}-{plan}", results, thresholds, options.out)
    elif options.only in (None, "reference"):
        out.print("the reference folder is not here: only seeded weights are measured", highlight=False)
    if options.only in (None, "seeded") and options.model is None:
        model = synthetic_model(SEEDED, seed=1)
        for plan in plans:
            results = measure(model, plan, held_out(SEEDED), options.crops, options.cycle_budget)
            thresholds = [Threshold("held-out photographs: median SQNR, dB", SEEDED_SQNR[plan],
                        float(np.median([r.output.sqnr for r in results])), True)] if plan in SEEDED_SQNR else []
            title = f"{SEEDED.name}, {plan}"
            figures[title] = report(title, f"{SEEDED.name}-{plan}", results, thresholds, options.out)
    if options.only in (None, "street") and options.model is None and default_model() is not None:
        found = street_model.measure([plan for plan in plans if plan in street_model.MOST_LOSS], options.scenes)
        out.print(street_model.table(found))
        limits = street_model.thresholds(found)
        out.print(threshold_table(limits, "street model: thresholds"))
        figures["street model"] = {"thresholds": [vars(limit) | {"met": limit.met} for limit in limits], **found}
    out.print(f"pictures in {options.out}", highlight=False)
    if options.json:
        print(json.dumps(figures))
    return 0 if all(threshold["met"] for case in figures.values() for threshold in case["thresholds"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
