# SPDX-License-Identifier: Apache-2.0
"""Program images on disk: read with every bound checked first, written whole or not at all."""

import os
import stat
from pathlib import Path

from golden.spec.machine import PAGE
from golden.spec.program.container import MAX_BYTES, BadSection, ProgramError, check_lead, want
from golden.spec.whole_file import write_whole


class NoFile(ProgramError):
    """The file is not there or cannot be read or written."""


def read_file(path: str | os.PathLike) -> bytes:
    """The bytes of a program image, at most :data:`golden.spec.program.container.MAX_BYTES`. Raises a
    :class:`ProgramError`.
    """
    name = os.fspath(path)
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):  # opening it would wait for ever
            raise NoFile(f"The program image {name!r} cannot be read: it is a pipe. Save its content in a file.")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            want(size <= MAX_BYTES, BadSection,
                 f"{name!r} has {size} bytes; a program image has at most {MAX_BYTES}.")
            lead = file.read(PAGE)
            check_lead(lead, size)
            return lead + file.read()
    except OSError as error:
        raise NoFile(f"The program image {name!r} cannot be read: {error.strerror}.") from None


def write_file(path: str | os.PathLike, data: bytes) -> None:
    """Write an image; an older one stays until the new one is whole. Raises :class:`NoFile`."""
    name = os.fspath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise NoFile(f"The program image {name!r} cannot be written: a folder, pipe or device has that name.")
    try:
        write_whole(Path(path), lambda part: part.write_bytes(data))
    except OSError as error:
        raise NoFile(f"The program image {name!r} cannot be written: {error.strerror}.") from None
