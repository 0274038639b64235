# SPDX-License-Identifier: Apache-2.0
"""The oldest Python that the driver promises to run with, of those that are here."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 12)
"""Promised by the driver; the last with a wheel of numpy 1.26."""


@cache
def oldest():
    """Path and version of the oldest interpreter of 3.10 to 3.12 that can make an environment; None without one."""
    found = []
    for minor in range(OLDEST[1], NEWEST[1] + 1):
        name = f"python3.{minor}"
        siblings = sorted(Path(sys.base_prefix).parent.glob(f"3.{minor}*/bin/{name}"))
        places = [shutil.which(name), *siblings, sys.executable]
        found += [path for path in map(str, filter(None, places)) if _version(path) == (3, minor)]
    return (found[0], _version(found[0])) if found else None


def _version(path):
    try:
        done = subprocess.run([path, "-c", "import ensurepip, venv, sys; print(*sys.version_info[:2])"],
                              capture_output=True, text=True, timeout=30)
        return tuple(map(int, done.stdout.split()))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
