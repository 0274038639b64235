# SPDX-License-Identifier: Apache-2.0
"""Plugin of pytest inside one trial: puts the changed source in place of a module, and skips what it leaves as it was.

``MUTANT`` in the environment names a JSON file: ``module``, ``source`` (path of the changed text), ``baseline`` (JSON
of the netlists without it, absent while these are made), ``out`` (folder of what is found here).
"""

import hashlib
import importlib.abc
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

import sim.runner
from sim.export import sim_verilog

TASK = json.loads(Path(os.environ["MUTANT"]).read_text()) if "MUTANT" in os.environ else {}
OUT = Path(TASK.get("out", "."))
STATE: dict = {"test": "", "number": 0}
_elaborated: list[str] = []


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the changed module; everything else is found as always."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != TASK.get("module"):
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=TASK["source"])

    def exec_module(self, module):
        text = Path(TASK["source"]).read_text()
        module.__file__ = TASK["source"]
        exec(compile(text, TASK["source"], "exec"), module.__dict__)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def note(event: str, **facts) -> None:
    """One line in the trial's record."""
    with (OUT / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "test": STATE["test"], **facts}) + "\n")


_run_bench = sim.runner.run_bench


def run_bench(component, **options):
    """In place of :func:`sim.runner.run_bench`: a netlist that is as without the change need not be simulated."""
    key = f"{STATE['test']}#{STATE['number']}"
    STATE["number"] += 1
    try:
        text = sim_verilog(component, sim.runner.TOP)
    except Exception as error:
        note("stillborn", why=f"{type(error).__name__}: {error}"[:300])
        raise
    name = digest(text)
    if "baseline" not in TASK:
        (OUT / f"{name}.v").write_text(text)
        note("netlist", key=key, digest=name)
        return None
    if TASK["known"].get(key) == name:
        return None
    (OUT / f"{name}.v").write_text(text)
    note("changed", key=key, digest=name)
    _elaborated.append(text)
    try:
        return _run_bench(component, **options)
    except AssertionError as error:
        note("found", why=str(error).splitlines()[0][:300] if str(error) else "assertion")
        raise
    except Exception as error:
        note("stillborn", why=f"{type(error).__name__}: {error}"[:300])
        raise


def _text(component, name, exact=False) -> str:
    """The runner's own elaboration: what was just made is not made again."""
    return _elaborated.pop() if _elaborated else sim_verilog(component, name, exact)


if TASK:
    assert TASK.get("module") not in sys.modules, f"{TASK['module']} was imported before its change."
    if "module" in TASK:
        sys.meta_path.insert(0, _Changed())
    if "baseline" in TASK:
        TASK["known"] = json.loads(Path(TASK["baseline"]).read_text())
    sim.runner.run_bench = run_bench
    sim.runner.sim_verilog = _text


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Names what is built from here on."""
    STATE["test"], STATE["number"] = item.nodeid, 0
