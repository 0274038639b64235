# SPDX-License-Identifier: Apache-2.0
"""Runs Yosys in a separate process and caches the result by content."""

import gzip
import hashlib
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from sim.implementation.synth.design import NAME
from sim.implementation.synth.resources import TARGET
from sim.lock import exclusive

BUILD = Path(os.environ.get("EDGE_MOE_BUILD", Path(__file__).parents[3] / "build")) / "synth"
MEMORY_BYTES = 5 << 30
"""Memory limit of one synthesis, so that a netlist that grows without bound ends alone."""
LIMIT_SECONDS = 3600
"""Longest that one synthesis may take."""

DSP_BLOCKS = Path(__file__).parent / "targets" / "dsp_blocks.v"
_MULTIPLIERS = """\
read_rtlil design.il
hierarchy -check -top {top}
scratchpad -set synth_xilinx.abc9.W {wire}
synth_xilinx -family {family} -noiopad -noclkbuf -flatten -top {top} -run begin:map_dsp
memory_dff
alumacc -macc-only
maccmap -unmap
opt_clean
techmap -map +/mul2dsp.v -map dsp_blocks.v -D DSP_NAME=$__MUL27X18 -D DSP_SIGNEDONLY=1 -D DSP_A_MAXWIDTH=27 \
 -D DSP_A_MAXWIDTH_PARTIAL=18 -D DSP_B_MAXWIDTH=18 -D DSP_A_MINWIDTH=2 -D DSP_B_MINWIDTH=2 -D DSP_Y_MINWIDTH=9
select a:mul2dsp
setattr -unset mul2dsp
opt_expr -fine
wreduce
select -clear
xilinx_dsp -family xc7
chtype -set $mul t:$__soft_mul
"""
"""Yosys' own steps up to ``map_dsp``, with :data:`DSP_BLOCKS` as the map."""
_SCRIPT = _MULTIPLIERS + """\
synth_xilinx -family {family} -noiopad -noclkbuf -flatten -top {top} -run coarse:
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
    """(Yosys' statistics, path of the gzipped JSON netlist) of an RTLIL text, for UltraScale+.

    Raises ``RuntimeError`` with the end of the log when Yosys fails or takes longer than :data:`LIMIT_SECONDS`.
    ``progress`` is called before Yosys starts; not when the result was there already.
    """
    netlist = _run(text, _SCRIPT, progress)
    return statistics(netlist), netlist


def multipliers(text: str) -> dict:
    """The top module of an RTLIL text with its multipliers in blocks, and all else not yet mapped."""
    return load(_run(text, _MULTIPLIERS + f"select {NAME}\nwrite_json -selected netlist.json\n"))


def _run(text: str, script: str, progress=None) -> Path:
    return run({"design.il": text, "dsp_blocks.v": DSP_BLOCKS.read_text()},
               script.format(top=NAME, wire=TARGET.wire_delay, family=TARGET.yosys), progress=progress)


def digest(*texts: str) -> str:
    """Name of a result: a hash of all that it was made from."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def run(files: dict[str, str], script: str, *, progress=None) -> Path:
    """Path of the gzipped JSON netlist that ``script`` leaves as ``netlist.json``, ``files`` next to it by name."""
    directory = BUILD / digest(*files.values(), script, importlib.metadata.version("pyosys"))
    netlist = directory / "netlist.json.gz"
    if not netlist.exists():
        if progress:
            progress()
        with exclusive(BUILD):  # one Yosys at a time: it takes a core and gigabytes
            if not netlist.exists():
                directory.mkdir(parents=True, exist_ok=True)
                for name, text in (files | {"script.ys": script}).items():
                    (directory / name).write_text(text)
                _yosys(directory)
                _pack(directory / "netlist.json", netlist)
    return netlist


def statistics(netlist: Path) -> dict:
    """What the script's ``stat -json`` wrote next to its netlist."""
    found = (netlist.parent / "stat.json").read_text()
    return json.loads(found[found.index("{"):])


def _yosys(directory: Path) -> None:
    log = directory / "yosys.log"
    with open(log, "w") as output:
        try:
            done = subprocess.run([sys.executable, "-c", _WORKER, "script.ys"], cwd=directory, stdout=output,
                                  stderr=output, timeout=LIMIT_SECONDS, preexec_fn=_bounded).returncode
        except subprocess.TimeoutExpired:
            done = f"a time-out of {LIMIT_SECONDS} s"
    if done != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"Yosys ended with {done}; the end of {log}:\n{tail}")
    log.unlink()


def _pack(raw: Path, netlist: Path) -> None:
    part = netlist.with_suffix(".part")
    with open(raw, "rb") as source, gzip.open(part, "wb", compresslevel=1) as packed:
        while block := source.read(1 << 20):
            packed.write(block)
    raw.unlink()
    part.rename(netlist)


def load(netlist: Path) -> dict:
    """The top module of a netlist kept by :func:`synthesise`."""
    with gzip.open(netlist, "rt") as source:
        return json.load(source)["modules"][NAME]
