# SPDX-License-Identifier: Apache-2.0
"""A new environment with the package and nothing but its base dependencies, installed as a user does."""

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
RUN_ALL = """
import contextlib, io, json, sys
from host.cli import main
found = {}
for name, words in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            found[name] = end.code, out.getvalue(), err.getvalue()
print(json.dumps(found))
"""


@dataclass
class Lean:
    """The environment; ``seconds``: processor time of the installation."""

    folder: Path
    seconds: float

    @property
    def packages(self) -> Path:
        return next((self.folder / "env/lib").glob("python*/site-packages"))

    def run(self, *words, limit=120):
        """(status, stdout, stderr) of ``edge-moe`` in the folder, far from this checkout."""
        done = subprocess.run([self.folder / "env/bin/edge-moe", *map(str, words)], cwd=self.folder, env=environment(),
                              capture_output=True, text=True, timeout=limit)
        return done.returncode, done.stdout, done.stderr

    def run_all(self, commands):
        """What :meth:`run` gives, of each of ``commands`` by its name, one after the other in one process."""
        return json.loads(self.python(RUN_ALL, json.dumps(commands)))

    def python(self, code, *words):
        """What a program prints."""
        return subprocess.run([self.folder / "env/bin/python", "-c", code, *words], cwd=self.folder, env=environment(),
                              capture_output=True, text=True, check=True, timeout=180).stdout


def environment():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def tracked():
    """Files of the packages, as this checkout has them."""
    return subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "hw", "golden", "host",
                           "sim"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def install(folder: Path) -> Lean:
    """``pip install`` of a copy of the sources, so that nothing is written into the checkout."""
    for name in ("pyproject.toml", "README.md", "LICENSE", *tracked()):
        if (ROOT / name).is_file():
            place = folder / "source" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, place)
    before = _seconds()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, timeout=120)
    done = subprocess.run([sys.executable, "-m", "pip", "--python", folder / "env/bin/python", "install", "--quiet",
                           folder / "source"], env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return Lean(folder, _seconds() - before)


def _seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
