# SPDX-License-Identifier: Apache-2.0
"""Bounds of files, checked before anything is read: no pipe that never ends, no size that exhausts the memory."""

import os
import stat

from golden.files.errors import MissingFile, TooLarge

MOST_BYTES = 1 << 34
"""Largest model file: float32 for each of the 2**32 bytes of weights that a program image may have."""


def refuse_pipe(path: str | os.PathLike) -> None:
    """Raise :class:`MissingFile` for what is there and neither file nor folder; opening a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # whoever opens it says what is wrong
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise MissingFile(f"{os.fspath(path)} must be a file or a folder, not a pipe or device. Save what it gives in "
                          f"a file first.")


def check_size(path: str | os.PathLike, size: int) -> None:
    """Raise :class:`TooLarge` where ``size``, of the file at ``path``, is beyond :data:`MOST_BYTES`."""
    if size > MOST_BYTES:
        raise TooLarge(f"{os.fspath(path)} has {size:,} bytes; a model that any machine runs has at most "
                       f"{MOST_BYTES:,}. Is it the right file?")
