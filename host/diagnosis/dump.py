# SPDX-License-Identifier: Apache-2.0
"""Dumps: a folder with all tensors of a run (``tensors.npz``) and what made them (``about.json``)."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from golden.files.array_file import write_npz
from golden.spec.whole_file import write_whole

FORMAT = "edge-moe dump 1"
ABOUT, TENSORS = "about.json", "tensors.npz"
MOST_BYTES = 1 << 32
"""Most bytes that the tensors of a dump may have when they are read."""


class DumpError(ValueError):
    """A folder is no dump, or dumps cannot be compared; the message says why."""


@dataclass(frozen=True)
class About:
    """What made a dump: ``device`` with its ``machine``, ``model``, ``program``, and ``pictures`` by name."""

    device: str
    machine: str
    model: str
    program: str
    pictures: tuple[str, ...]
    cycles: tuple[int, ...]


@dataclass(frozen=True)
class Dump:
    """A dump that was read: ``tensors`` by name, of picture after picture."""

    about: About
    tensors: dict[str, np.ndarray]


def write_dump(folder: Path, about: About, frames: Sequence[dict[str, np.ndarray]]) -> None:
    """Write a dump: ``frames`` are the tensors of each picture. Makes the folder; an older dump in it is replaced."""
    folder.mkdir(exist_ok=True)
    many = len(frames) > 1
    tensors = {f"{number}.{name}" if many else name: array for number, frame in enumerate(frames)
               for name, array in frame.items()}

    (folder / ABOUT).unlink(missing_ok=True)  # while it is missing the folder is no dump
    write_npz(folder / TENSORS, tensors)
    text = json.dumps({"format": FORMAT, **asdict(about), "tensors": list(tensors)}, indent=1)
    write_whole(folder / ABOUT, lambda part: part.write_text(text + "\n"))


def read_dump(folder: Path) -> Dump:
    """The dump in ``folder``. Raises DumpError."""
    if not (folder / ABOUT).is_file() or not (folder / TENSORS).is_file():
        raise DumpError(f"{folder} is no dump: it lacks {ABOUT} or {TENSORS}. Make one with "
                        f"edge-moe run --dump FOLDER.")
    try:
        facts = json.loads((folder / ABOUT).read_bytes())
        names, kind = facts.pop("tensors"), facts.pop("format")
        device, machine, model, program = (str(facts[name]) for name in ("device", "machine", "model", "program"))
        about = About(device, machine, model, program, tuple(facts["pictures"]), tuple(facts["cycles"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DumpError(f"{folder / ABOUT} is not what edge-moe run --dump writes. Make the dump again.") from None
    if kind != FORMAT or not isinstance(names, list):
        raise DumpError(f"{folder / ABOUT} says the format {kind!r}; this version reads {FORMAT!r}.")
    try:
        with zipfile.ZipFile(folder / TENSORS) as archive:
            if (size := sum(item.file_size for item in archive.infolist())) > MOST_BYTES:
                raise DumpError(f"{folder / TENSORS} holds {size} bytes; at most {MOST_BYTES} are read.")
        with np.load(folder / TENSORS, allow_pickle=False) as stored:
            tensors = {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        if isinstance(error, DumpError):
            raise
        raise DumpError(f"{folder / TENSORS} is damaged: {error}. Make the dump again.") from None
    return Dump(about, tensors)


def comparable(one: Dump, other: Dump) -> None:
    """Raise DumpError unless both are of the same model, program and number of pictures; the machine may differ."""
    for what in ("model", "program"):
        a, b = getattr(one.about, what), getattr(other.about, what)
        if a != b:
            raise DumpError(f"The dumps are of the {what}s {a!r} and {b!r}: compare two of the same.")
    if (a := len(one.about.pictures)) != (b := len(other.about.pictures)):
        raise DumpError(f"The dumps are of {a} and {b} pictures: compare two of the same.")
