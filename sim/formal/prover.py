# SPDX-License-Identifier: Apache-2.0
"""Prover: claims of a harness by k-induction and property-directed reachability (IC3), in the ABC that Yosys brings."""

import contextlib
import enum
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyosys

ABC = Path(pyosys.__file__).parent / "yosys-abc"
LIMIT_SECONDS = 120
"""Longest that one claim may take, unless its proof says otherwise."""


class Verdict(enum.Enum):
    """What is known of a claim or a cover."""

    PROVED = "proved"        # holds in every cycle
    BOUNDED = "bounded"      # holds up to some cycle; the rest is not known
    REFUTED = "refuted"      # there is a run in which it fails
    REACHED = "reached"      # cover: there is a run in which it holds
    UNREACHABLE = "unreachable"  # cover: no run


@dataclass(frozen=True)
class Result:
    """A claim's verdict; ``cycles`` of the shortest run looked at that refutes it or reaches a cover, or up to which it
    is known to hold; the ``method`` that found it; ``seconds`` that it took."""

    proof: str
    claim: str
    verdict: Verdict
    cycles: int | None
    method: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.verdict in (Verdict.PROVED, Verdict.REACHED)

    def __str__(self) -> str:
        when = "" if self.cycles is None else f" in cycle {self.cycles}"
        cycles = {Verdict.BOUNDED: f" to {self.cycles} cycles", Verdict.REFUTED: when,
                  Verdict.REACHED: when}.get(self.verdict, "")
        return f"{self.verdict.value}{cycles}" + (f" by {self.method}" if self.verdict is Verdict.PROVED else "")


_YOSYS = """\
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in sys.stdin.read().splitlines():
    libyosys.run_pass(line, design)
"""
_NETLIST = """\
read_rtlil design.il
hierarchy -check -top top
proc
flatten
opt -full
memory -nomap
memory_map
opt -full
techmap
opt -fast
async2sync
dffunmap
simplemap
aigmap
opt_clean
write_aiger -zinit -symbols design.aig
"""
_CONE = "read_aiger design.aig; cone -O {output}; scleanup"
_REDUCED = _CONE + "; scorr; dc2; scorr; write_aiger {name}.aig"
DEPTHS = 1, 2, 4, 8
"""Depths of induction that are tried before reachability; the base of each is checked with the first of all."""
QUICK_SECONDS = 5
INDUCTION_SECONDS = 10
REDUCTION_SECONDS = 30
COVER_CYCLES = 50


def netlist(rtlil: str, directory: Path, *, initial: bool = True) -> dict[str, int]:
    """Writes ``design.aig``, an and-inverter graph, to ``directory``; the number of each named output. ``initial``: an
    undefined initial value becomes an input, as ABC knows no undefined ones."""
    script = _NETLIST if initial else _NETLIST.replace(" -zinit", "")
    (directory / "design.il").write_text(rtlil)
    done = subprocess.run([sys.executable, "-c", _YOSYS], input=script, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"Yosys ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    graph = (directory / "design.aig").read_bytes()
    return {m[2].decode(): int(m[1]) for m in re.finditer(rb"^o(\d+) (\S+)$", graph, re.MULTILINE)}


def _abc(commands: str, directory: Path, seconds: float) -> str:
    done = subprocess.run([ABC, "-q", commands], cwd=directory, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise RuntimeError(f"ABC ended with {done.returncode} at {commands!r}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _constant(path: Path) -> int | None:
    """The value of a graph's only output, where nothing but that is left of it."""
    header, rest = path.read_bytes().split(b"\n", 1)
    _, _, _, latches, outputs, ands, *_ = header.split()
    literal = rest.split(b"\n", 1)[0]
    return int(literal) if (latches, outputs, ands) == (b"0", b"1", b"0") and literal in (b"0", b"1") else None


@dataclass(frozen=True)
class _Decision:
    """Whether an output can ever be 1, None when that is not known; in which cycle, or up to which it can't; how this
    was found."""

    possible: bool | None
    cycles: int | None = None
    method: str = ""


def decide(directory: Path, output: int, name: str, limit: float) -> _Decision:
    """Whether output ``output`` of ``design.aig`` can ever be 1: a claim by induction on the graph as it is, since
    merging registers can hide why a lemma helps, else by what is quickest on the graph with equal registers merged."""
    start, claim = _CONE.format(output=output), name.startswith("bad")
    frames = max(DEPTHS) + 2 if claim else COVER_CYCLES
    base = _searched(_abc(f"{start}; bmc3 -F {frames} -T {limit:.0f}", directory, 2 * limit + 60))
    if base.possible:
        return base
    if claim and (found := _induction(start, directory, base.cycles or 0, QUICK_SECONDS)):
        return found
    # Merging equal registers helps most other proofs and takes longer than all else for a few.
    with contextlib.suppress(subprocess.TimeoutExpired):
        _abc(_REDUCED.format(output=output, name=name), directory, REDUCTION_SECONDS)
        value = _constant(directory / f"{name}.aig")
        if value == 0:
            return _Decision(False, method="equivalence of registers")
        if value is None:
            start = f"read_aiger {name}.aig"
    if claim and (found := _induction(start, directory, base.cycles or 0, INDUCTION_SECONDS)):
        return found
    text = _abc(f"{start}; pdr -T {limit:.0f}", directory, 2 * limit + 60)
    if "Property proved" in text:
        return _Decision(False, method="reachability")
    found = _searched(text)
    return found if found.possible else _searched(_abc(f"{start}; bmc3 -T {limit:.0f}", directory, 2 * limit + 60))


def _induction(start: str, directory: Path, base: int, seconds: float) -> _Decision | None:
    """That the graph made by commands ``start`` is never 1, if that follows by induction of a depth below ``base``, the
    cycles in which a search found no 1."""
    for depth in DEPTHS:
        if depth < base and "are equivalent" in _abc(f"{start}; ind -F {depth} -T {seconds}", directory,
                                                     2 * seconds + 60):
            return _Decision(False, method=f"{depth}-induction")
    return None


def search(directory: Path, output: int, limit: float) -> _Decision:
    """The first cycle in which output ``output`` of ``design.aig`` is 1, by a search alone."""
    return _searched(_abc(f"{_CONE.format(output=output)}; bmc3 -T {limit:.0f}", directory, 2 * limit + 60))


def _searched(text: str) -> _Decision:
    """What a bounded search of ABC says."""
    if found := re.search(r"was asserted in frame (\d+)", text):
        return _Decision(True, int(found[1]), "search")
    found = re.search(r"No output asserted in (\d+) frames", text)
    return _Decision(None, int(found[1]) if found else 0, "search")


def prove(name: str, harness, directory: Path, *, limit: float = LIMIT_SECONDS):
    """Yields a :class:`Result` for each claim and cover of ``harness``, lemmas first. What assumes a lemma that
    is not proved is known up to as many cycles as the lemma, and refuted with it."""
    outputs = netlist(harness.rtlil(), directory)
    order = {lemma: n for n, lemma in enumerate(harness.lemmas)}
    known: dict[str, Result] = {}
    for output, number in sorted(outputs.items(), key=lambda item: order.get(item[0].partition("_")[2], len(order))):
        kind, _, claim = output.partition("_")
        start = time.perf_counter()
        found = decide(directory, number, output, limit)
        verdict = Verdict.BOUNDED if found.possible is None else (
            {"bad": Verdict.REFUTED, "cover": Verdict.REACHED} if found.possible
            else {"bad": Verdict.PROVED, "cover": Verdict.UNREACHABLE})[kind]
        cycles = found.cycles
        if kind == "bad":
            weak = [known[lemma] for lemma in harness.helpers(claim) if not known[lemma].good]
            if weak and verdict in (Verdict.PROVED, Verdict.BOUNDED):
                shortest = min(r.cycles for r in weak)
                verdict, cycles = Verdict.BOUNDED, shortest if cycles is None else min(cycles, shortest)
        result = Result(name, claim, verdict, cycles, found.method, time.perf_counter() - start)
        if claim in order:
            known[claim] = result
        yield result


def refute(name: str, harness, directory: Path, claim: str, limit: float = LIMIT_SECONDS) -> Result:
    """Searches a run in which ``claim`` fails, with the help of no lemma, since what refutes the claim may break
    lemmas as well."""
    start = time.perf_counter()
    output = netlist(harness.rtlil(help_=False), directory)[f"bad_{claim}"]
    found = search(directory, output, limit)
    return Result(name, claim, Verdict.REFUTED if found.possible else Verdict.BOUNDED, found.cycles, found.method,
                  time.perf_counter() - start)
