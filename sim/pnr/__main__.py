# SPDX-License-Identifier: Apache-2.0
"""``make pnr``: places and routes each unit of a machine with open tools and prints the clock it reaches."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable

from golden.spec.machine import MACHINES
from host.report import synthesis
from sim.pnr import place
from sim.synth import design, sources


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0; 1 when a unit could not be placed; 2 for an unknown unit or without the tool."""
    parser = argparse.ArgumentParser(prog="python -m sim.pnr", description=__doc__)
    parser.add_argument("--config", choices=sorted(MACHINES), default="small", help="which machine")
    parser.add_argument("--unit", nargs="+", metavar="NAME", help="these units of the machine alone; all by default")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    parser.add_argument("--keep", action="store_true",
                        help="keep the results in hw/synthesis, for the tables of `make docs`")
    parser.add_argument("--limit", type=int, default=place.LIMIT_SECONDS, metavar="SECONDS",
                        help="give a unit up after so much CPU time in nextpnr; %(default)s by default")
    options = parser.parse_args(arguments)
    if sentence := place.missing():
        _say(sentence)
        return 2
    parts = {name: text for name, (_, text) in design.split(sources.machine(MACHINES[options.config]))[1].items()}
    unknown = [name for name in options.unit or () if name not in parts]
    if unknown:
        _say(f"The machine has no unit {unknown[0]!r}; it has {', '.join(parts)}.")
        return 2
    chosen = {name: parts[name] for name in options.unit or parts}
    results, failures = measure(chosen, options.limit)
    entries, lines = [result.as_json() for result in results], sentences(results, set(parts))
    if options.keep and not failures:
        entry = {"sources": sources.digest(), "part": place.PART, "has": place.HAS, "units": entries,
                 "sentences": lines}
        _say(f"kept in {synthesis.keep(f'{options.config}-pnr', entry)}; `make docs` writes the pages")
    print(json.dumps(entries, indent=1) if options.json else "\n".join(
        [synthesis.clocks(entries, place.PART, place.HAS), "",
         *(f"{result.unit}, {result.mhz:.1f} MHz: {result.path}" for result in results if result.mhz), "", *lines]))
    for failure in failures:
        _say(failure)
    return 1 if failures else 0


def measure(parts: dict[str, str], limit: int) -> tuple[list[place.Routed], list[str]]:
    """(What was placed, why the others were not), unit by unit, with progress."""
    results, failures = [], []
    for n, (name, text) in enumerate(parts.items(), 1):
        try:
            results.append(place.place(text, name, _progress(f"[{n}/{len(parts)}] {name}"), limit))
        except (RuntimeError, ValueError) as error:
            failures.append(f"{name}: {error}")
            continue
        reached = f"{results[-1].mhz:.1f} MHz" if results[-1].mhz else f"not routed in {limit} CPU seconds"
        _say(f"{name}: {reached}, {results[-1].used['LUT4']:,} LUT4")
    return results, failures


def sentences(results: list[place.Routed], units: set[str]) -> list[str]:
    """What the table comes to: the slowest unit; those given up; those of the machine that nobody asked for, or, when
    all were, whether one part would hold them."""
    lines, routed = [], [result for result in results if result.mhz]
    if routed:
        slowest = min(routed, key=lambda result: result.mhz)
        lines.append(f"Slowest: {slowest.unit}, {slowest.mhz:.1f} MHz on {place.PART} with {place.TOOL}.")
    if given_up := [result.unit for result in results if not result.mhz]:
        lines.append(f"Synthesised, but not placed and routed within the time given: {', '.join(given_up)}.")
    if left := units - {result.unit for result in results}:
        return [*lines, f"Not measured in this run: {', '.join(sorted(left))}."]
    total = sum((result.used for result in results), Counter())
    over = [f"{total[name]:,} of {has:,} {name}" for name, has in place.HAS.items() if total[name] > has]
    if over:
        lines.append(f"The whole machine does not fit one part ({', '.join(over)}); each unit was placed alone.")
    return lines


def _progress(unit: str) -> Callable[[str], None]:
    return lambda tool: _say(f"{unit}: {tool} runs ...")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
