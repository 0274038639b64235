# SPDX-License-Identifier: Apache-2.0
"""What a session is given: an image or its path, a device, limits; what is none of these is refused in a sentence."""

import os
from pathlib import Path

import numpy as np

from golden.spec.program.container import BadMagic
from golden.spec.program.image import Image
from host.driver.errors import InputError

WORD = 1 << 32


def require_device(device: object) -> None:
    """Raise InputError for a name, or anything else that has no registers."""
    if not callable(getattr(device, "read32", None)):
        raise InputError(f"A session needs a device, such as open_device('golden') gives, not {device!r}.")


def image_of(image: Image | str | os.PathLike) -> Image:
    """The image itself, or that of a path. Raises InputError, ProgramError and FileNotFoundError."""
    if isinstance(image, Image):
        return image
    if not isinstance(image, (str, os.PathLike)):
        raise InputError(f"A session needs a program image or the path of one, not a {type(image).__name__}.")
    path = Path(image)
    path.stat()  # a name that is wrong is the usual FileNotFoundError
    try:
        return Image.load(path)
    except BadMagic:
        if path.suffix != ".safetensors":
            raise
        raise BadMagic(f"{path} is a model, not a program for a machine: compile it with `edge-moe compile {path} "
                       f"--machine NAME -o PROGRAM.emoe`, or in Python with host.program.program_of.") from None


def program_named(image: Image, task: str | None) -> str:
    """The program for ``task``, the first one for None. Raises InputError."""
    known = list(image.programs)
    if task is not None and task not in known:
        raise InputError(f"This program knows the tasks {', '.join(known)}, not {task!r}.")
    return known[0] if task is None else task


def limit_of(name: str, limit: object) -> int:
    """A number of cycles that a register holds. Raises InputError."""
    if not isinstance(limit, (int, np.integer)) or not 0 < limit < WORD:
        raise InputError(f"{name} must lie in 1..{WORD - 1} cycles and be a whole number, not {limit!r}.")
    return int(limit)
