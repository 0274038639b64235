# SPDX-License-Identifier: Apache-2.0
"""``make sim``: runs the benches and prints bench, tests, cycles, cycles a second, pass; errors against PyTorch."""

import argparse
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from host.progress import printer
from sim.accuracy import Accuracy
from sim.runner import BUILD

TESTS = Path(__file__).parents[1] / "tests"


def main() -> int:
    """Exit status 0 when every bench passed, 1 when one failed, 2 when there is no such unit."""
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--unit", help="one bench: the file test_UNIT.py below tests/hw, and test_UNIT_torch.py")
    options, passed_on = parser.parse_known_args()
    benches = sorted((TESTS / "hw").rglob("test_*.py"))
    target = [str(TESTS / "hw"), str(TESTS / "e2e")]
    if options.unit:
        names = f"test_{options.unit}", f"test_{options.unit}_torch"
        target = [str(bench) for bench in benches if bench.stem in names]
        if not target:
            print(f"There is no bench {options.unit!r}; there are "
                  f"{', '.join(bench.stem.removeprefix('test_') for bench in benches)}.", file=sys.stderr)
            return 2
    results = BUILD / "results"
    shutil.rmtree(results, ignore_errors=True)
    workers = [] if options.unit else ["-n", "2", "--dist", "loadfile"]
    status = subprocess.run([sys.executable, "-m", "pytest", "-q", *workers, *target, *passed_on]).returncode
    totals, waveforms, kept = defaultdict(lambda: [0, 0, 0, 0.0]), [], []
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text())
        row = totals[record["bench"]]
        waveforms += record["waveforms"]
        kept += [Accuracy(**entry) for entry in record["accuracy"]]
        for i, key in enumerate(("tests", "failed", "cycles", "seconds")):
            row[i] += record[key]
    table = Table("bench", "tests", "cycles", "cycles/s", "pass", title="benches on Verilator")
    for column in table.columns[1:4]:
        column.justify = "right"
    for bench, (tests, failed, cycles, seconds) in sorted(totals.items()):
        speed = cycles / max(seconds, 1e-9)
        table.add_row(bench, str(tests), f"{cycles:,}", f"{speed:,.0f}", "no" if failed else "yes")
    printer().print(table)
    if kept:
        printer().print(against_torch(kept))
    for path in dict.fromkeys(waveforms):
        print(f"waveform: {path}")
    return 1 if status else 0


def against_torch(kept: list[Accuracy]) -> Table:
    """A row for each unit and function: of all runs, the value that came nearest to its bound."""
    worst = {}
    for entry in kept:
        key = entry.unit, entry.function
        both = [entry, worst[key]] if key in worst else [entry]
        worst[key] = replace(max(both, key=lambda e: e.ratio), values=sum(e.values for e in both),
                             largest=max(e.largest for e in both))
    table = Table("unit", "function", "values", "largest error", "error", "bound", "ratio",
                  title="RTL against PyTorch: the largest error, and the one nearest to its bound")
    for column in table.columns[2:]:
        column.justify = "right"
    for (unit, function), entry in sorted(worst.items()):
        ratio = f"{entry.ratio:.2f}" if entry.bound or entry.error else "exact"
        numbers = (f"{number:.2e}" for number in (entry.largest, entry.error, entry.bound))
        table.add_row(unit, function, f"{entry.values:,}", *numbers, ratio)
    return table


if __name__ == "__main__":
    raise SystemExit(main())
