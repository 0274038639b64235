# SPDX-License-Identifier: Apache-2.0
"""``edge-moe run --scales``: features of pictures at several scales, figures and files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from golden.spec.program.image import Image
from host.cli import results
from host.cli.output import UsageError
from host.driver import Session
from host.driver.device import Device, clock_text
from host.driver.scales import check_scales, run_scales
from host.images import fitted, read_picture
from host.progress import steps


def run_at_scales(image: Image, pictures: list[Path], text: str, opened: Callable[[], Device], program: str,
                  output: Path | None, others: tuple[Path | None, ...]) -> dict:
    """Run every picture at the scales that ``text`` lists on the device that ``opened`` gives; writes ``output`` and
    returns what the verb prints. ``others``: files that only a run at one scale writes.
    """
    scales = _scales(text)
    if any(other is not None for other in others) or output is not None and output.suffix not in results.ARRAYS:
        raise UsageError(f"--scales gives features, no pictures and no dump: name a file {' or '.join(results.ARRAYS)} "
                         f"with -o.")
    board = opened()
    found, cycles, jobs = [], 0, 0
    try:
        session = Session(image, board)
        for file in pictures:
            picture = read_picture(file)
            with steps(f"{image.model.name} {program} on {board.name}, {file.name}") as report:
                result = run_scales(session, {s: fitted(picture, image.model, s) for s in scales}, program,
                                    progress=report)
            tasks = list(result.by_task.values())
            found.append(np.stack(tasks) if len(tasks) > 1 else tasks[0])
            cycles, jobs = result.cycles, result.jobs
    finally:
        board.close()
    features = np.stack(found) if len(found) > 1 else found[0]
    shown = {"device": board.name, "task": program, "scales": ", ".join(map(str, scales)), "jobs": jobs,
             "placement": "accelerator: 100 % of MACs; host: crop, resize, pooling of features",
             "features": list(found[-1].shape), "mean": round(float(found[-1].mean()), 5),
             "deviation": round(float(found[-1].std()), 5), "cycles": cycles or None,
             "milliseconds": round(cycles / board.clock_hz * 1e3, 3) or None,
             "clock": clock_text(board) if cycles else None}
    if len(found) > 1:
        shown["pictures"] = len(found)
    if output is not None:
        results.save_arrays({"features": features}, output)
        shown["written"] = str(output)
    return shown


def _scales(text: str) -> tuple[int, ...]:
    try:
        scales = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"Scales are whole numbers, comma-separated, like 1,2, not {text!r}.") from None
    check_scales(scales)
    return scales
