# SPDX-License-Identifier: Apache-2.0
"""``edge-moe run --scales``: features of pictures at several scales, figures and files."""

from collections.abc import Callable

import numpy as np

from golden.spec.program.image import Image
from host.cli.output import UsageError
from host.cli.run.files import ARRAYS, Files, save_arrays
from host.driver import Session
from host.driver.device import Device, clock_text
from host.driver.scales import check_scales, run_scales
from host.images import fitted
from host.progress import steps
from host.sources import Source


def run_at_scales(image: Image, source: Source, text: str, opened: Callable[[], Device], program: str,
                  files: Files) -> dict:
    """Run every picture at the scales that ``text`` lists on the device that ``opened`` gives; writes the output of
    ``files``, which may name no other file, and returns what the verb prints.
    """
    scales = _scales(text)
    if files.sheet or files.dump or files.output is not None and files.output.suffix not in ARRAYS:
        raise UsageError(f"--scales gives features, no pictures and no dump: name a file {' or '.join(ARRAYS)} "
                         f"with -o.")
    if files.normed:
        raise UsageError("--scales gives features before the final norm: leave --normed out.")
    board = opened()
    found, cycles, jobs = [], 0, 0
    try:
        session = Session(image, board)
        for shot in source:
            with steps(f"{image.model.name} {program} on {board.name}, {shot.name}") as report:
                result = run_scales(session, {s: fitted(shot.pixels, image.model, s) for s in scales}, program,
                                    progress=report)
            tasks = list(result.by_task.values())
            found.append(np.stack(tasks) if len(tasks) > 1 else tasks[0])
            cycles, jobs = result.cycles, result.jobs
    finally:
        board.close()
    features = np.stack(found) if len(found) > 1 else found[0]
    shown = {"device": board.name, "task": program, "scales": ", ".join(map(str, scales)), "jobs": jobs,
             "placement": "accelerator: 100 % of MACs; host: crop, resize, pooling of features",
             "features": list(found[-1].shape), "mean": float(found[-1].mean()),
             "deviation": float(found[-1].std()), "cycles": cycles or None,
             "milliseconds": cycles / board.clock_hz * 1e3 or None,
             "clock": clock_text(board) if cycles else None}
    if len(found) > 1:
        shown["pictures"] = len(found)
    if files.output is not None:
        save_arrays({"features": features}, files.output)
        shown["written"] = str(files.output)
    return shown


def _scales(text: str) -> tuple[int, ...]:
    try:
        scales = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"Scales are whole numbers, comma-separated, like 1,2, not {text!r}.") from None
    check_scales(scales)
    return scales
