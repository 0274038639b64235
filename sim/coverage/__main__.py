# SPDX-License-Identifier: Apache-2.0
"""``make coverage``: branches, lines and toggles that the benches cover, merged over all of them, with the holes."""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from golden.spec.whole_file import write_whole
from host.interrupts import ends_on_sigterm
from sim.coverage.functional import page as functional_page
from sim.coverage.instrument import ROOT, VARIABLE
from sim.coverage.sources import Coverage, File, read
from sim.mutants.units import bench_folders

LEAST = 95.0
"""Per cent of branches, and of lines, that must be covered."""
WAIVERS = Path(__file__).with_name("waivers.toml")


@dataclass(frozen=True)
class Hole:
    """A branch that no run took."""

    file: str
    line: int
    arm: str
    code: str
    waived: str


def waivers(path: Path = WAIVERS) -> dict[tuple[str, str, str], str]:
    """(file below hw, source line, arm) -> why no bench takes it."""
    return {(entry["file"], entry["code"], entry["arm"]): entry["reason"]
            for entry in tomllib.loads(path.read_text()).get("branch", [])}


def holes(files: list[File], coverage: Coverage, waived: dict) -> list[Hole]:
    """Branches without a hit, in the order of the source."""
    found = []
    for file in files:
        text = (ROOT / "hw" / f"{file.name}.py").read_text().splitlines()
        for line, arm in sorted(file.branches):
            if not coverage.branch(file.name, line, arm):
                code = " ".join(text[line - 1].split())
                found.append(Hole(file.name, line, arm, code, waived.get((file.name, code, arm), "")))
    return found


def page(files: list[File], coverage: Coverage, missing: list[Hole]) -> tuple[str, float, float]:
    """(Markdown, per cent of branches, per cent of lines); what is waived does not count."""
    rows, totals = [], [0, 0, 0, 0]
    for file in files:
        mine = [hole for hole in missing if hole.file == file.name]
        counted = len(file.branches) - sum(bool(hole.waived) for hole in mine)
        open_ = [hole for hole in mine if not hole.waived]
        waived_lines = {hole.line for hole in mine if hole.waived and hole.arm == "true"}
        lines = [line for line, owner in file.lines.items() if owner not in waived_lines]
        covered = sum(coverage.line(file, line) for line in lines)
        totals = [a + b for a, b in zip(totals, (counted - len(open_), counted, covered, len(lines)), strict=True)]
        rows.append(f"| hw/{file.name}.py | {counted - len(open_)} of {counted} | {covered} of {len(lines)} |")
    branch, line = (100.0 * totals[i] / max(1, totals[i + 1]) for i in (0, 2))
    bits, toggled = (sum(pair[i] for pair in coverage.toggles.values()) for i in (0, 1))
    text = ["# Coverage of the gateware by the benches", "",
            f"Branches {branch:.1f} % ({totals[0]} of {totals[1]}), lines {line:.1f} % ({totals[2]} of {totals[3]}), "
            f"toggled bits {100 * toggled / max(1, bits):.1f} % ({toggled} of {bits}, of {len(coverage.toggles)} "
            f"netlists).", "", "| file | branches | lines |", "|---|---|---|", *rows, "", "## Holes", ""]
    text += [f"* hw/{hole.file}.py:{hole.line}, {hole.arm}: `{hole.code}`"
             + (f" - waived: {hole.waived}" if hole.waived else "") for hole in missing]
    return "\n".join(text) + "\n", branch, line


def collect(folder: Path, benches: list[str], passed_on: list[str]) -> int:
    """Run the benches with cover points; the exit status of pytest."""
    environment = os.environ | {VARIABLE: str(folder)}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", os.environ.get("WORKERS", "2"), "--dist",
                           "loadfile", *benches, *passed_on], cwd=ROOT, env=environment).returncode


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when enough is covered, 1 when not or when a bench failed."""
    parser = argparse.ArgumentParser(prog="make coverage", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/coverage"))
    parser.add_argument("--unit", help="one folder or bench below tests/hw, as in vector or ctrl/test_csr.py")
    parser.add_argument("--keep", action="store_true", help="add to what was collected before")
    parser.add_argument("--no-run", action="store_true", help="only write the page from what was collected before")
    options, passed_on = parser.parse_known_args(arguments)
    folder = (options.out / "runs").resolve()
    if not (options.keep or options.no_run):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    benches = [f"tests/hw/{unit}" for unit in ([options.unit] if options.unit else bench_folders())]
    benches += [] if options.unit else ["tests/e2e", "tests/fuzz"]  # for functional coverage
    status = 0 if options.no_run else collect(folder, benches, passed_on)
    coverage = Coverage.read(folder)
    chosen = [path for path in sorted((ROOT / "hw").rglob("*.py")) if path.stem not in ("__init__", "top", "verilog")]
    files = [file for file in map(read, chosen) if file.branches or file.lines]
    if options.unit:
        files = [file for file in files if file.name in coverage.elaborated]
    text, branch, line = page(files, coverage, holes(files, coverage, waivers()))
    text += functional_page(folder)
    write_whole(options.out / "coverage.md", lambda part: part.write_text(text))
    print(text.split("\n| file")[0].split("\n", 2)[2].strip())
    print(f"holes: {options.out / 'coverage.md'}")
    return 1 if status or branch < LEAST or line < LEAST else 0


if __name__ == "__main__":
    with ends_on_sigterm():
        raise SystemExit(main())
