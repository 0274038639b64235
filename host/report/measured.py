# SPDX-License-Identifier: Apache-2.0
"""Kept measurements: files that `make bench`, `make bench-table` and `make ablation` write and README tables read."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "sim" / "bench" / "kept"
CLOCK_HZ = 300e6
"""Clock that milliseconds are stated at: assumed, no machine here has been placed for a board."""


def kept(name: str, folder: Path | None = None) -> dict:
    """A kept file, of a bench unless another ``folder`` is given; empty when there is none."""
    path = (folder or KEPT) / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(name: str, entry: dict, folder: Path | None = None) -> Path:
    """Write a kept file, unrounded, one line per value, so that changes give small diffs; entries of benches name the
    :func:`commit`."""
    folder = folder or KEPT
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(entry, indent=1, sort_keys=True) + "\n")
    return path


def commit() -> str:
    """The commit of this checkout that something is measured at, with ``+`` where sources have changed since; empty
    outside a repository."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.cpp", "*.h", "*.toml", ":!tests")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


def cell(model: str, machine: str) -> str:
    """The kept file of what `make bench` measured of a model on a machine."""
    return f"{model}-{machine}"


def milliseconds(cycles: float) -> float:
    """Cycles at the assumed clock."""
    return cycles / CLOCK_HZ * 1e3
