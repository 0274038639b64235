# SPDX-License-Identifier: Apache-2.0
"""Build lock: two processes that want the same build wait for each other instead of mixing their files."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the lock of ``directory`` (made if needed); the lock goes with the process, however it ends."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
