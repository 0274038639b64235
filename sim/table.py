# SPDX-License-Identifier: Apache-2.0
"""``make sim``: runs the benches and prints bench, tests, cycles, cycles a second, pass."""

import argparse
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from rich.table import Table

from host.progress import printer
from sim.runner import BUILD

TESTS = Path(__file__).parents[1] / "tests"


def main() -> int:
    """Exit status 0 when every bench passed, 1 when one failed, 2 when there is no such unit."""
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--unit", help="one bench: the file test_UNIT.py below tests/hw")
    options, passed_on = parser.parse_known_args()
    benches = sorted((TESTS / "hw").rglob("test_*.py"))
    target = [str(TESTS / "hw"), str(TESTS / "e2e")]
    if options.unit:
        target = [str(bench) for bench in benches if bench.stem == f"test_{options.unit}"]
        if not target:
            print(f"There is no bench {options.unit!r}; there are "
                  f"{', '.join(bench.stem.removeprefix('test_') for bench in benches)}.", file=sys.stderr)
            return 2
    results = BUILD / "results"
    shutil.rmtree(results, ignore_errors=True)
    workers = [] if options.unit else ["-n", "2", "--dist", "loadfile"]
    status = subprocess.run([sys.executable, "-m", "pytest", "-q", *workers, *target, *passed_on]).returncode
    totals, waveforms = defaultdict(lambda: [0, 0, 0, 0.0]), []
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text())
        row = totals[record["bench"]]
        waveforms += record["waveforms"]
        for i, key in enumerate(("tests", "failed", "cycles", "seconds")):
            row[i] += record[key]
    table = Table("bench", "tests", "cycles", "cycles/s", "pass", title="benches on Verilator")
    for column in table.columns[1:4]:
        column.justify = "right"
    for bench, (tests, failed, cycles, seconds) in sorted(totals.items()):
        speed = cycles / max(seconds, 1e-9)
        table.add_row(bench, str(tests), f"{cycles:,}", f"{speed:,.0f}", "no" if failed else "yes")
    printer().print(table)
    for path in dict.fromkeys(waveforms):
        print(f"waveform: {path}")
    return 1 if status else 0


if __name__ == "__main__":
    raise SystemExit(main())
