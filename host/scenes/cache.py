# SPDX-License-Identifier: Apache-2.0
"""Rendered scenes kept on disk as arrays, so that training reads each scene many times and renders it once.

A series lies in a folder of its own, in chunks of :data:`CHUNK` scenes: ``NNNNN.pixels.npy`` uint8 [scenes, H, W, 4]
(red, green, blue, label) and ``NNNNN.depth.npy`` uint16 [scenes, H, W] in units of ``DEPTH_STEP``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.files.array_file import write_npy
from host.parallel_map import parallel_map
from host.scenes.render import scene

CHUNK = 32
SERIES = 1
"""Number of the generator's version: changes whenever a scene's bytes change, so that old chunks are not used."""


@dataclass(frozen=True)
class Job:
    """A chunk to render: its number in the series of ``seed``, and where it goes."""

    folder: str
    chunk: int
    seed: int
    height: int
    width: int


def cached(folder: Path, count: int, seed: int, height: int, width: int, *, scheduler: str | None = None,
           workers: int | None = None, report: Callable[[int, int, str], None] = lambda done, total, what: None,
           ) -> list[tuple[Path, Path]]:
    """Files (pixels, depth) of the chunks that hold the first ``count`` scenes of a series; renders those missing.

    The last chunk may hold more scenes than asked for.
    """
    place = Path(folder) / f"series{SERIES}-seed{seed}-{height}x{width}"
    place.mkdir(parents=True, exist_ok=True)
    chunks = range(-(-count // CHUNK))
    missing = [Job(str(place), chunk, seed, height, width) for chunk in chunks
               if not (place / f"{chunk:05d}.depth.npy").exists()]
    there = len(chunks) - len(missing)
    parallel_map(render_chunk, missing, scheduler=scheduler, workers=workers, report=lambda done, total: report(
        min(count, (there + done) * CHUNK), count, "scenes"))
    return [(place / f"{chunk:05d}.pixels.npy", place / f"{chunk:05d}.depth.npy") for chunk in chunks]


def render_chunk(job: Job) -> None:
    """Render one chunk and write it; a file appears whole or not at all."""
    pixels = np.empty((CHUNK, job.height, job.width, 4), np.uint8)
    depth = np.empty((CHUNK, job.height, job.width), np.uint16)
    for i in range(CHUNK):
        one = scene(job.chunk * CHUNK + i, job.seed, job.height, job.width)
        pixels[i, ..., :3], pixels[i, ..., 3] = one.image, one.label
        depth[i] = one.depth_codes
    for kind, array in (("pixels", pixels), ("depth", depth)):  # depth last: it marks the chunk as complete
        write_npy(Path(job.folder) / f"{job.chunk:05d}.{kind}.npy", array)
