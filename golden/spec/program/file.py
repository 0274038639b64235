# SPDX-License-Identifier: Apache-2.0
"""Program images on disk: read with every bound checked first, written whole or not at all."""

import os
import stat

from golden.spec.machine import PAGE
from golden.spec.program.container import MAX_BYTES, BadSection, ProgramError, check_lead, want


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
    name, place = os.fspath(path), os.path.realpath(path)
    if os.path.exists(place) and not os.path.isfile(place):  # or root would turn /dev/null into a file
        raise NoFile(f"The program image {name!r} cannot be written: a folder, pipe or device has that name.")
    part = f"{place}.{os.getpid()}.part"
    try:
        try:
            with open(part, "wb") as file:
                file.write(data)
            os.replace(part, place)
        finally:
            if os.path.exists(part):
                os.unlink(part)
    except OSError as error:
        raise NoFile(f"The program image {name!r} cannot be written: {error.strerror}.") from None
