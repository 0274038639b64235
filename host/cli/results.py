# SPDX-License-Identifier: Apache-2.0
"""Results of the verb ``run``: of a folder, on one device or several; figures, feature files, sheets, animations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.files.array_file import write_npy, write_npz
from golden.spec.program.image import Image
from golden.spec.program.names import pictures_of, width_of
from golden.spec.program.outputs import FEATURES
from host.cli.output import DRAWINGS, UsageError, check_output
from host.driver import Session
from host.driver.device import Device, clock_text
from host.driver.jobs import Job
from host.driver.pool import Pool
from host.driver.result import NORMED, Result
from host.images import PictureError, fitted, read_picture
from host.progress import Report

ARRAYS = (".npy", ".npz")
ANIMATIONS = (".gif", ".mp4", ".webm", ".mkv")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
RATE = 10.0
"""Pictures a second of an animation."""


@dataclass
class Frame:
    """One picture at the model's size, uint8 [H, W, C], and its result."""

    pixels: np.ndarray
    result: Result | None = None


def files(picture: Path) -> list[Path]:
    """The picture file itself, or those of a folder by name. Raises PictureError for a folder without any."""
    if not picture.is_dir():
        return [picture]
    found = sorted(path for path in picture.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise PictureError(f"The folder {picture} holds no pictures ({', '.join(PICTURES)}).")
    return found


def check(output: Path | None, save_picture: Path | None, picture: Path, model: Path) -> None:
    """Refuse files that could not be written, before any work. Raises UsageError, AnimationError."""
    if save_picture is not None and picture.is_dir():
        raise UsageError("--save-picture draws one picture; of a folder -o NAME.gif makes an animation.")
    check_output(save_picture, picture, model, suffixes=DRAWINGS)
    check_output(output, picture, model, suffixes=(*ARRAYS, *(ANIMATIONS if picture.is_dir() else ())))
    if output is not None and output == save_picture:
        raise UsageError(f"-o and --save-picture both name {output}; name two files.")
    if output is not None and output.suffix in ANIMATIONS:
        from host.pictures.animation import check_film

        check_film(output)


def check_normed(normed: bool, image: Image, output: Path | None) -> None:
    """Refuse --normed where it would change nothing. Raises UsageError."""
    if normed and not image.model.final_norm:
        raise UsageError(f"The model {image.model.name!r} has no final norm: leave --normed out.")
    if normed and (output is None or output.suffix != ".npy"):
        raise UsageError("--normed chooses the features of a file .npy, named with -o; a .npz has both.")


def check_dump(folder: Path | None) -> None:
    """Refuse, before any work, a place where no folder of a dump can be. Raises UsageError."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"--dump wants a folder; {folder} is a file.")
    if folder is not None and not folder.parent.is_dir():
        raise UsageError(f"There is no folder {folder.parent} for {folder.name}.")


def programs(path: Path, task: str | None) -> tuple[tuple[float, ...], int]:
    """FFN widths, and pictures at a time, of the programs to make of the quantized model at ``path`` so that ``task``
    can run."""
    from host.program import config_of, is_program, is_quantized

    if task is None or not set("@#") & set(task) or is_program(path) or not is_quantized(path):
        return (1.0,), 1
    config = config_of(path)
    return (width_of(task, config),), pictures_of(task, config)


def folder(image: Image, devices: Sequence[Device], todo: Sequence[Job], pictures: Sequence[Path],
           report: Report) -> tuple[list[Frame], dict]:
    """Pictures at the model's size with their results, in the order of ``todo``; and what several devices are asked
    for: frames a second, latencies, who ran how many, who was lost. ``report`` hears of each job.
    """
    read: list[list[np.ndarray]] = []

    def batches() -> Iterator[tuple[list[np.ndarray], str]]:
        for job in todo:
            read.append([fitted(read_picture(pictures[place]), image.model) for place in job.places])
            yield read[-1], job.program
    pool = Pool(devices, image) if len(devices) > 1 else None
    results = pool.batches(batches()) if pool is not None else _alone(Session(image, devices[0]), batches())
    found: list[Frame] = []
    for number, (job, done) in enumerate(zip(todo, results, strict=True)):
        found += map(Frame, read[number], done)
        report(len(found), len(pictures), pictures[job.places[-1]].name)
    return found, {} if pool is None else _pool_figures(pool)


def _alone(session: Session, batches: Iterator[tuple[list[np.ndarray], str]]) -> Iterator[list[Result]]:
    for pictures, program in batches:
        yield session.run(pictures, program)


def _pool_figures(pool: Pool) -> dict:
    figures = pool.figures
    shown = {"device": ", ".join(f"{name}: {count} pictures" for name, count in sorted(figures.frames.items())),
             "pictures_per_second": round(figures.per_second, 2),
             "job_milliseconds": f"{figures.p50 * 1e3:.1f} (half of the jobs), {figures.p99 * 1e3:.1f} (99 of 100)"}
    if figures.retries:
        shown["jobs_run_again"] = figures.retries
    if figures.lost:
        shown["lost"] = ", ".join(f"{name}: {why}" for name, why in figures.lost.items())
    return shown


def features(result: Result, normed: bool = False) -> np.ndarray:
    """float32 [tokens, dim], or [tasks, tokens, dim] where several ran, before or after the final norm."""
    tasks = list((result.normed_by_task if normed else result.by_task).values())
    return np.stack(tasks) if len(tasks) > 1 else tasks[0]


def facts(frames: list[Frame], image: Image, board: Device, program: str) -> dict:
    """What the verb prints: of the last frame, and how many there were."""
    result = frames[-1].result
    assert result is not None
    found = features(result)
    host = "crop, resize" + ", last enlargement of the maps" * bool(result.maps) + \
        f", {image.model.pool.replace('_', ' and ')} of features and classifier" * image.model.pooled
    normed = "; normed_features: after it" if NORMED in result else ", which the model does not have"
    shown = {"device": board.name, "task": program, "placement": f"accelerator: 100 % of MACs; host: {host}",
             "features": list(found.shape), "features_are": f"before the final norm{normed}",
             "mean": round(float(found.mean()), 5),
             "deviation": round(float(found.std()), 5), "cycles": result.cycles or None,
             "milliseconds": round(result.cycles / board.clock_hz * 1e3, 3) or None,
             "clock": clock_text(board) if result.cycles else None}
    if len(frames) > 1:
        shown["pictures"] = len(frames)
    if result.kept:
        shown["patches_kept"] = len(result["kept"])
    if result.pictures > 1:
        shown["cycles_for"] = f"{result.pictures} pictures together"
    if result.maps:
        shown["maps"] = ", ".join(f"{name} {' x '.join(map(str, result[name].shape))}" for name in result.maps)
    if result.logits is not None:
        best = np.argsort(-result.logits, kind="stable")[:5]
        shown["top_classes"] = ", ".join(f"{index} ({result.logits[index]:.2f})" for index in best)
    return shown


def write(frames: list[Frame], image: Image, model: Path, program: str, output: Path | None,
          save_picture: Path | None, shown: dict, normed: bool = False) -> None:
    """Write the files that were asked for, each whole or not at all, and name them in ``shown``; ``normed``: a .npy has
    features after the final norm.
    """
    if output is not None:
        if output.suffix in ARRAYS:
            _save_arrays(frames, output, normed)
        else:
            _save_animation(frames, image, output)
        shown["written"] = str(output)
    if save_picture is not None:
        _save_sheet(frames[0], image, model, program, save_picture)
        shown["picture"] = str(save_picture)


def write_dump(frames: list[Frame], image: Image, board: Device, program: str, pictures: list[Path],
               folder: Path) -> None:
    """Write all tensors of the frames as a dump."""
    from host.diagnosis import dump
    from host.diagnosis.difference import tensors_of

    done = [(frame.pixels, frame.result) for frame in frames if frame.result is not None]
    about = dump.About(board.name, image.machine.name, image.model.name, program, tuple(path.name for path in pictures),
                       tuple(result.cycles for _, result in done))
    dump.write_dump(folder, about, [tensors_of(pixels, result) for pixels, result in done])


def _save_arrays(frames: list[Frame], path: Path, normed: bool) -> None:
    results = [frame.result for frame in frames if frame.result is not None]

    def stacked(arrays: list[np.ndarray]) -> np.ndarray:
        return np.stack(arrays) if len(arrays) > 1 else arrays[0]

    arrays = {name: stacked([result[name] for result in results]) for name in results[0]}
    for name in arrays.keys() & {FEATURES, NORMED}:
        arrays[name] = stacked([features(result, name == NORMED) for result in results])
    save_arrays(arrays, path, NORMED if normed else FEATURES)


def save_arrays(arrays: dict[str, np.ndarray], path: Path, one: str = FEATURES) -> None:
    """Write all arrays into a .npz, or the ``one`` into a .npy."""
    if path.suffix == ".npz":
        write_npz(path, arrays)
    else:
        write_npy(path, arrays[one])


def _save_animation(frames: list[Frame], image: Image, path: Path) -> None:
    from host.pictures.animation import frame, save_animation
    from host.pictures.outputs import outputs_of

    rows = [(each.pixels, outputs_of(each.result, image.model)) for each in frames if each.result is not None]
    depths = [output.values.max() for _, outputs in rows for output in outputs if output.head.kind == "depth"]
    save_animation([frame(pixels, outputs, float(max(depths, default=1.0))) for pixels, outputs in rows], path, RATE)


def _save_sheet(frame: Frame, image: Image, model: Path, program: str, path: Path) -> None:
    from golden.model.int_model import IntModel
    from golden.model.nested import narrow
    from host.pictures.outputs import expert_load, outputs_of
    from host.pictures.sheet import save_sheet
    from host.program import is_program, is_quantized

    assert frame.result is not None
    load = {}
    if not is_program(model) and is_quantized(model):
        network = narrow(IntModel.load(model), width_of(program, image.model))
        load = expert_load(network, frame.pixels, image.tasks(program))
    save_sheet(frame.pixels, outputs_of(frame.result, image.model), path, load,
               f"{image.model.name}, {program}, {frame.result.cycles:,} cycles" if frame.result.cycles
               else f"{image.model.name}, {program}")
