# SPDX-License-Identifier: Apache-2.0
"""Writer of scenes as a folder of pictures, in the layout of :mod:`host.datasets.folder`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golden.spec.whole_file import write_whole
from host.parallel_map import parallel_map
from host.scenes.classes import CLASSES, DEPTH_STEP, FARTHEST, IGNORE
from host.scenes.render import scene

METRES = 0.4
"""Way from one picture of a drive to the next: 43 km/h at 30 pictures a second."""


@dataclass(frozen=True)
class Job:
    """One picture to write: scene ``number`` of a series, or ``frame`` of the drive through it."""

    folder: str
    number: int
    seed: int
    height: int
    width: int
    frame: int | None = None


def write_scenes(folder: Path, count: int, seed: int, height: int, width: int, *, first: int = 0,
                 drive: bool = False, scheduler: str | None = None, workers: int | None = None,
                 report: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Write scenes ``first .. first + count - 1`` of a series and ``dataset.json``; returns how many were missing.

    ``drive``: ``count`` pictures of the scene ``first`` instead, :data:`METRES` farther along the road each.
    Files that are there already stay, so an interrupted call can be repeated. ``dataset.json`` comes last.
    """
    for kind in ("image", "label", "depth"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    jobs = [Job(str(folder), first if drive else first + i, seed, height, width, i if drive else None)
            for i in range(count)]
    missing = [job for job in jobs if not all(path.exists() for path in _files(job).values())]
    done = count - len(missing)
    parallel_map(write_scene, missing, scheduler=scheduler, workers=workers,
                 report=lambda finished, total: report(done + finished, count))
    about = {"name": f"street scenes, seed {seed}", "classes": [c.name for c in CLASSES],
             "colours": [list(c.colour) for c in CLASSES], "ignore": IGNORE, "depth_scale": DEPTH_STEP,
             "farthest": FARTHEST}
    write_whole(folder / "dataset.json", lambda path: path.write_text(json.dumps(about, indent=1) + "\n"))
    return len(missing)


def write_scene(job: Job) -> None:
    """Render one scene and write its three files; each appears whole or not at all."""
    from PIL import Image as Picture

    made = scene(job.number, job.seed, job.height, job.width, METRES * (job.frame or 0))
    for kind, pixels in (("image", made.image), ("label", made.label), ("depth", made.depth_codes)):
        write_whole(_files(job)[kind], lambda part, pixels=pixels: Picture.fromarray(pixels).save(part, format="PNG"))


def _files(job: Job) -> dict[str, Path]:
    name = f"s{job.seed}-{job.number:06d}" + ("" if job.frame is None else f"-{job.frame:04d}")
    return {kind: Path(job.folder) / kind / f"{name}.png" for kind in ("image", "label", "depth")}
