# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` make a file next to ``path``, which then takes its place at once; an older file stays until then,
    and if ``write`` raises. The file's name has another suffix, and is this process's own; an OSError names ``path``.
    """
    place = Path(os.path.realpath(path))  # of a link, what it points to
    part = place.with_name(f".{place.name[-100:]}.{os.getpid()}.part")
    try:
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if place.exists() and not place.is_file():  # or root would turn /dev/null into a file
            raise OSError(errno.EINVAL, "Not a plain file", str(path))
        write(part)
        os.replace(part, place)
    except OSError as error:
        if error.filename not in (None, part, str(part)):
            raise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        part.unlink(missing_ok=True)
