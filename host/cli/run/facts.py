# SPDX-License-Identifier: Apache-2.0
"""What the verb ``run`` prints: facts of a run, a row for each picture, figures of several devices."""

import numpy as np

from golden.spec.program.image import Image
from host.cli.output import Told
from host.cli.run.frame import Frame, features
from host.driver.device import Device, clock_text
from host.driver.pool import Pool
from host.driver.result import NORMED

COLUMNS = ("picture", "task", "cycles", "milliseconds", "pictures_together", "mean", "deviation", "top_class",
           "top_score")
"""Names of what :func:`row` tells."""
BEST = 5
UNCOUNTED = "not counted by this device; edge-moe report predicts them"


def row(frame: Frame, board: Device, program: str) -> dict:
    """A picture's figures, by :data:`COLUMNS`; cycles are those of the job, which may have had several pictures."""
    result, found = frame.result, features(frame.result)
    best = None if result.logits is None else int(np.argmax(result.logits))
    values = (frame.name, program, result.cycles or None, _milliseconds(frame, board), result.pictures,
              float(found.mean()), float(found.std()), best,
              None if best is None or result.logits is None else float(result.logits[best]))
    return dict(zip(COLUMNS, values, strict=True))


def facts(frame: Frame, image: Image, board: Device, program: str) -> dict:
    """What the verb prints of its last picture."""
    result, found = frame.result, features(frame.result)
    host = "crop, resize" + ", last enlargement of the maps" * bool(result.maps) + \
        f", {image.model.pool.replace('_', ' and ')} of features and classifier" * image.model.pooled
    normed = "; normed_features: after it" if NORMED in result else ", which the model does not have"
    shown = {"device": board.name, "task": program, "placement": f"accelerator: 100 % of MACs; host: {host}",
             "features": list(found.shape), "features_are": f"before the final norm{normed}",
             "mean": float(found.mean()), "deviation": float(found.std()),
             "cycles": result.cycles or Told(None, UNCOUNTED), "milliseconds": _milliseconds(frame, board),
             "clock": clock_text(board) if result.cycles else None}
    if result.kept:
        shown["patches_kept"] = len(result["kept"])
    if result.pictures > 1:
        shown["cycles_for"] = f"{result.pictures} pictures together"
    if result.maps:
        shown["maps"] = ", ".join(f"{name} {' x '.join(map(str, result[name].shape))}" for name in result.maps)
    if result.logits is not None:
        best = [int(index) for index in np.argsort(-result.logits, kind="stable")[:BEST]]
        shown["top_classes"] = Told([{"class": index, "score": float(result.logits[index])} for index in best],
                                    ", ".join(f"{index} ({result.logits[index]:.2f})" for index in best))
    return shown


def pool_figures(pool: Pool) -> dict:
    """Frames a second, latencies, who ran how many, who was lost."""
    figures = pool.figures
    shown = {"device": ", ".join(f"{name}: {count} pictures" for name, count in sorted(figures.frames.items())),
             "pictures_per_second": figures.per_second,
             "job_milliseconds": Told({"p50": figures.p50 * 1e3, "p99": figures.p99 * 1e3},
                                      f"{figures.p50 * 1e3:.1f} (half of the jobs), {figures.p99 * 1e3:.1f} (99 of "
                                      f"100)")}
    if figures.retries:
        shown["jobs_run_again"] = figures.retries
    if figures.lost:
        shown["lost"] = ", ".join(f"{name}: {why}" for name, why in figures.lost.items())
    return shown


def _milliseconds(frame: Frame, board: Device) -> float | None:
    return frame.result.cycles / board.clock_hz * 1e3 if frame.result.cycles else None
