# SPDX-License-Identifier: Apache-2.0
"""Cover points in the netlist: each branch of the gateware's source drives a signal that says that it was taken.

Verilator counts toggles of these signals; their names say file and line. In use only while ``VARIABLE`` is set.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
VARIABLE = "BENCH_COVERAGE"
"""Environment variable with the folder in which runs leave what they covered."""
PREFIX = "cover__"
TRUE, FALSE = "true", "false"
ARMS = ("If", "Elif", "Else", "Case", "Default", "State")
"""Methods of a Module that open a branch."""
ARGUMENTS = ("--coverage-toggle", "--coverage-max-width", "64",
             "--output-split", "20000", "--output-split-cfuncs", "500")
"""Verilator's: each bit of signals up to 64 bits is counted, cover points among them; short functions, since with all
these counters a compiler takes a quarter of an hour for a unit in one."""
_seen: set[str] = set()
_lock = threading.Lock()


def folder() -> Path | None:
    """Where coverage is kept; nothing where it is not collected."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def _place(depth: int) -> tuple[str, int] | None:
    """File below ``hw`` and line of the nearest caller that is gateware."""
    frame = sys._getframe(depth)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "hw"):
            return str(path.relative_to(ROOT / "hw").with_suffix("")), frame.f_lineno
        frame = frame.f_back
    return None


def _point(place: tuple[str, int], arm: str):
    from amaranth.hdl import Signal

    return Signal(name=f"{PREFIX}{place[0].replace('/', '__')}__{place[1]}__{arm}", attrs={"keep": 1})


def place_of(name: str) -> tuple[str, int, str]:
    """(file below hw without suffix, line, arm) of a cover point's name, a number appended by a tool or not."""
    *path, line, arm = name.split("$")[0].removeprefix(PREFIX).split("__")
    return "/".join(path), int(line), arm


def install() -> None:
    """Let every Module from here on put a cover point into each branch, and note the files whose statements it takes.
    Once in a process."""
    from amaranth.hdl import Module  # late: the simulated board itself needs no gateware

    if getattr(Module, "covered", False):
        return
    Module.covered = True
    for name in ARMS:
        setattr(Module, name, _covered(name, getattr(Module, name)))
    add = Module._add_statement

    def noted(self, *arguments, **options):
        if place := _place(2):
            with _lock:
                _seen.add(place[0])
        add(self, *arguments, **options)

    Module._add_statement = noted


def _covered(name: str, original: Callable) -> Callable:
    from amaranth.hdl import Value

    @contextmanager
    def arm(self, *arguments, **options):
        place = _place(3)
        if place and name == "If":
            self.d.comb += _point(place, FALSE).eq(~Value.cast(arguments[0]).bool())
        with original(self, *arguments, **options):
            if place:
                self.d.comb += _point(place, TRUE).eq(1)
            yield

    return arm


def keep(run: Path, data: Path, into: Path) -> None:
    """Leave the counts of one run, ``data`` as Verilator wrote them, in the folder ``into``."""
    into.mkdir(parents=True, exist_ok=True)
    points, toggles = {}, {}
    for name, hits in counts(data.read_text(errors="replace")):
        signal = name.split("[")[0]
        if signal.startswith(PREFIX):
            points[signal.split("$")[0]] = points.get(signal.split("$")[0], 0) + hits
        else:
            toggles[name] = toggles.get(name, 0) + hits
    record = {"elaborated": sorted(_seen), "points": points,
              "toggles": [len(toggles), sum(hits > 0 for hits in toggles.values())], "run": run.parent.name}
    (into / f"{run.parent.name}-{run.name}.json").write_text(json.dumps(record))


def counts(text: str) -> list[tuple[str, int]]:
    """(hierarchical bit, toggles) of each line that Verilator wrote: fields between control characters, and a count."""
    found = []
    for line in text.splitlines():
        if not line.startswith("C '"):
            continue
        body, _, count = line[3:].rpartition("' ")
        fields = dict(part.split("\x02", 1) for part in body.split("\x01") if "\x02" in part)
        if fields.get("page", "").startswith("v_toggle"):
            name = fields.get("o", "").split(":")[0].replace("___05F", "__").replace("__024", "$")  # how it escapes
            found.append((name if name.startswith(PREFIX) else f"{fields.get('h', '')}.{name}", int(count)))
    return found
