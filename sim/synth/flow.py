# SPDX-License-Identifier: Apache-2.0
"""Runs Yosys on one component in a process of its own and keeps the result by content."""

import gzip
import hashlib
import importlib.metadata
import json
import os
import re
import resource
import subprocess
import sys
import warnings
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import UnusedElaboratable

from sim.lock import exclusive

BUILD = Path(os.environ.get("EDGE_MOE_BUILD", Path(__file__).parents[2] / "build")) / "synth"
NAME = "dut"
MEMORY_BYTES = 5 << 30
"""What one synthesis may take: a netlist that explodes ends by itself, not by taking the machine with it."""
WIRE_DELAY = 4000
"""Picoseconds a wire is said to cost, so that the mapper counts levels rather than the speed of each LUT pin. Its own
300 lets slack turn into chains of small LUTs: deeper and larger."""
LIMIT_SECONDS = 3600
"""Longest that one synthesis may take."""

# Flattened inside each unit; units keep their borders until the areas are counted, then they go too, for the depths.
_SCRIPT = """\
read_rtlil design.il
hierarchy -check -top {top}
{keep}
scratchpad -set synth_xilinx.abc9.W {wire}
synth_xilinx -family xcup -noiopad -noclkbuf -flatten -top {top}
tee -q -o stat.json stat -json
setattr -mod -unset keep_hierarchy *
flatten
opt_clean
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


def to_rtlil(component) -> str:
    """RTLIL of ``component``, top module :data:`NAME`.

    Amaranth names the elements of an array port ``port[0]``, and Yosys' logic optimiser gives bit 0 of a wire ``port``
    the same name and stops. Brackets inside names become underscores.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        text = rtlil.convert(component, name=NAME, emit_src=False)
    return re.sub(r"\\[^\s\[\]]+(?:\[\d+\][^\s\[\]]*)+", lambda name: name[0].replace("[", "_").replace("]", ""), text)


def children(text: str) -> list[str]:
    """Modules that the top module of an RTLIL text instantiates, in order."""
    body = re.search(rf"^module \\{NAME}$(.*?)^end$", text, re.M | re.S)
    return list(dict.fromkeys(re.findall(rf"^  cell \\({NAME}\.\S+) ", body[1], re.M))) if body else []


def memories(text: str) -> dict[str, tuple[int, int]]:
    """Memories of an RTLIL text: ``module.name`` -> (width, rows)."""
    found, module = {}, ""
    for line in text.splitlines():
        if line.startswith("module "):
            module = line.split()[1].lstrip("\\").removeprefix(f"{NAME}.")
        elif match := re.match(r"  memory width (\d+) size (\d+) \\(\S+)", line):
            place = match[3] if module == NAME else f"{module}.{match[3]}"
            found[place] = int(match[1]), int(match[2])
    return found


def products(text: str) -> int:
    """Multiplications that an RTLIL text asks for, those by constants included."""
    return len(re.findall(r"^  cell \$mul ", text, re.M))


def synthesise(text: str, *, keep: list[str] = (), progress=None) -> tuple[dict, Path]:
    """(Yosys' statistics, path of the gzipped JSON netlist) of an RTLIL text; ``keep``: modules counted apart.

    Raises ``RuntimeError`` with the end of the log when Yosys fails or takes longer than :data:`LIMIT_SECONDS`.
    ``progress`` is called before Yosys starts; not when the result was there already.
    """
    marks = "\n".join(f"setattr -mod -set keep_hierarchy 1 {name}" for name in keep)
    script = _SCRIPT.format(top=NAME, keep=marks, wire=WIRE_DELAY)
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
