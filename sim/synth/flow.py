# SPDX-License-Identifier: Apache-2.0
"""Runs Yosys on one component in a process of its own and keeps the result by content."""

import gzip
import hashlib
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from sim.lock import exclusive
from sim.synth.design import NAME

BUILD = Path(os.environ.get("EDGE_MOE_BUILD", Path(__file__).parents[2] / "build")) / "synth"
MEMORY_BYTES = 5 << 30
"""What one synthesis may take: a netlist that explodes ends by itself, not by taking the machine with it."""
WIRE_DELAY = 4000
"""Picoseconds a wire is said to cost, so that the mapper counts levels rather than the speed of each LUT pin. Its own
300 lets slack turn into chains of small LUTs: deeper and larger."""
LIMIT_SECONDS = 3600
"""Longest that one synthesis may take."""

_SCRIPT = """\
read_rtlil design.il
hierarchy -check -top {top}
scratchpad -set synth_xilinx.abc9.W {wire}
synth_xilinx -family xcup -noiopad -noclkbuf -flatten -top {top}
tee -q -o stat.json stat -json
write_json netlist.json
"""
_WORKER = """\
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in open(sys.argv[1]).read().splitlines():
    if line:
        libyosys.run_pass(line, design)
"""


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def synthesise(text: str, *, progress=None) -> tuple[dict, Path]:
    """(Yosys' statistics, path of the gzipped JSON netlist) of an RTLIL text.

    Raises ``RuntimeError`` with the end of the log when Yosys fails or takes longer than :data:`LIMIT_SECONDS`.
    ``progress`` is called before Yosys starts; not when the result was there already.
    """
    script = _SCRIPT.format(top=NAME, wire=WIRE_DELAY)
    version = importlib.metadata.version("pyosys")
    digest = hashlib.sha256("\0".join([text, script, version]).encode()).hexdigest()[:16]
    directory = BUILD / digest
    stat, netlist = directory / "stat.json", directory / "netlist.json.gz"
    if not netlist.exists():
        if progress:
            progress()
        with exclusive(BUILD):  # one Yosys at a time: it takes a core and gigabytes
            if not netlist.exists():
                _run(text, script, directory, netlist)
    found = stat.read_text()
    return json.loads(found[found.index("{"):]), netlist


def _run(text: str, script: str, directory: Path, netlist: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "design.il").write_text(text)
    (directory / "script.ys").write_text(script)
    with open(directory / "yosys.log", "w") as log:
        try:
            done = subprocess.run([sys.executable, "-c", _WORKER, "script.ys"], cwd=directory, stdout=log,
                                  stderr=log, timeout=LIMIT_SECONDS,
                                  preexec_fn=_bounded).returncode
        except subprocess.TimeoutExpired:
            done = f"a time-out of {LIMIT_SECONDS} s"
    if done != 0:
        tail = "\n".join((directory / "yosys.log").read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"Yosys ended with {done}; the end of {directory / 'yosys.log'}:\n{tail}")
    raw = directory / "netlist.json"
    with open(raw, "rb") as source, gzip.open(directory / "part.gz", "wb", compresslevel=1) as packed:
        while block := source.read(1 << 20):
            packed.write(block)
    raw.unlink()
    (directory / "yosys.log").unlink()
    (directory / "part.gz").rename(netlist)


def load(netlist: Path) -> dict:
    """The top module of a netlist kept by :func:`synthesise`."""
    with gzip.open(netlist, "rt") as source:
        return json.load(source)["modules"][NAME]
