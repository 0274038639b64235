# SPDX-License-Identifier: Apache-2.0
"""Trial of one mutant: the unit's benches run on the changed source, in a process and a build folder of their own."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sim import object_cache
from sim.lock import exclusive
from sim.mutants.equivalence import proved_equal
from sim.mutants.sites import Mutant, draw
from sim.mutants.units import ROOT, UNITS
from sim.runner import BUILD

FOLDER = BUILD / "mutants"
LIMIT = 300
"""Processor seconds for each process of a trial, the simulator for one; a mutant that takes more hangs where the bench
does not look."""
PATIENCE = 12
"""A trial is given up after this many times its limit by the clock, whatever the load of the machine."""
PROOF = 60
"""Seconds for the proof that a netlist is equal in spite of the change."""
RESULTS = ("killed", "hung", "survived", "equal", "proved", "stillborn")
"""``equal``: the netlists did not change; ``proved``: they changed, and Yosys shows that they do the same;
``stillborn``: there is no netlist, so there is nothing that a bench could find."""
COUNTED = ("killed", "hung", "survived")
"""Results that the score is made of: the others have nothing that a bench could find."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: ``result`` is one of RESULTS, ``why`` what found it, ``seconds`` how long it took."""

    unit: str
    mutant: Mutant
    result: str
    why: str
    seconds: float


def baseline(unit: str) -> Path:
    """JSON file with the netlists of the unit's benches as they are, made once for each content."""
    benches = UNITS[unit].bench_files()
    texts = [path.read_text() for folder in ("hw", "golden/spec", "tests/hw", "sim")
             for path in sorted((ROOT / folder).rglob("*.py"))]
    folder = FOLDER / f"baseline-{unit}-{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:16]}"
    result = folder / "netlists.json"
    with exclusive(folder):
        if not result.exists():
            status, log = _pytest({"out": str(folder)}, benches, folder, LIMIT)
            if status != 0:
                raise RuntimeError(f"The benches of {unit} do not elaborate as they are; the end of the log:\n{log}")
            known = {event["key"]: event["digest"] for event in _events(folder) if event["event"] == "netlist"}
            result.write_text(json.dumps(known, indent=1))
    return result


def run(unit: str, mutant: Mutant, limit: float = LIMIT) -> Outcome:
    """Let the benches of ``unit`` look for ``mutant``."""
    known, began = baseline(unit), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"trial-{unit}-", dir=FOLDER))
    try:
        source = folder / "mutant.py"
        source.write_text(mutant.source())
        task = {"module": mutant.module, "source": str(source), "baseline": str(known), "out": str(folder)}
        status, log = _pytest(task, UNITS[unit].bench_files(), folder, limit)
        result, why = _result(status, log, _events(folder), known, folder)
        return Outcome(unit, mutant, result, why, time.monotonic() - began)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def of_unit(seed: int, count: int, limit: float, unit: str) -> list[Outcome]:
    """Outcomes of the mutants of ``unit`` drawn by ``seed``, until ``count`` of them count for the score; each is
    written to a file of the unit and the seed as soon as it is known."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / f"{unit}-{seed}.jsonl"
    log.unlink(missing_ok=True)
    outcomes, counted = [], 0
    for mutant in draw(unit, seed):
        if counted == count:
            break
        outcome = run(unit, mutant, limit)
        counted += outcome.result in COUNTED
        outcomes.append(outcome)
        with log.open("a") as file:
            file.write(json.dumps({"unit": unit, "result": outcome.result, "why": outcome.why, "seconds":
                                   round(outcome.seconds, 1), "diff": outcome.mutant.diff()}) + "\n")
    return outcomes


def _result(status: int | None, log: str, events: list[dict], known: Path, folder: Path) -> tuple[str, str]:
    if status is None:
        return "hung", f"the benches took more than their limit, in {events[-1]['test'] if events else 'no test'}"
    stillborn = [event["why"] for event in events if event["event"] == "stillborn"]
    if status == 0:
        pairs = {(json.loads(known.read_text())[event["key"]], event["digest"]) for event in events
                 if event["event"] == "changed"}
        if not pairs:
            return "equal", ""
        if all(proved_equal(known.parent / f"{old}.v", folder / f"{new}.v", PROOF) for old, new in sorted(pairs)):
            return "proved", f"{len(pairs)} netlists"
        return "survived", ""
    if stillborn or status != 1:
        return "stillborn", stillborn[0] if stillborn else log.splitlines()[-1] if log else ""
    found = [event for event in events if event["event"] == "found"]
    if found and found[0]["why"].startswith("No coroutine"):  # the simulator was stopped at its limit, or it crashed
        return "hung", found[0]["test"]
    return "killed", found[0]["why"] if found else "a test that simulates nothing"


def _events(folder: Path) -> list[dict]:
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _bounded(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def _pytest(task: dict, benches: Sequence[str], folder: Path, limit: float) -> tuple[int | None, str]:
    """(exit status, end of the log); no status where it was given up."""
    (folder / "task.json").write_text(json.dumps(task))
    environment = os.environ | {"MUTANT": str(folder / "task.json"), "EDGE_MOE_BUILD": str(folder / "build"),
                                "COCOTB_MAX_FAILURES": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                                "OBJCACHE": object_cache.command(BUILD / "objects")}
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p",
                                    "sim.mutants.plugin", *benches], cwd=ROOT, env=environment, stdout=stream,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   preexec_fn=partial(_bounded, round(limit)))
        try:
            status = process.wait(timeout=PATIENCE * limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return status, "\n".join(log.read_text(errors="replace").splitlines()[-30:])
