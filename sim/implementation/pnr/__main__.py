# SPDX-License-Identifier: Apache-2.0
"""``make pnr``: places and routes the units of a machine with open tools and prints the clock each reaches; or the
whole machine, where it fits the part."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from golden.files.machine_file import add_machine_option
from host.report import synthesis
from sim.implementation.pnr import place
from sim.implementation.pnr.part import TARGET, places
from sim.implementation.synth import design, sources

_WHOLE = synthesis.MACHINE


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0; 1 when something could not be placed; 2 for an unknown unit or without the tool."""
    parser = argparse.ArgumentParser(prog="python -m sim.implementation.pnr", description=__doc__)
    add_machine_option(parser, "--config", default="small")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--unit", nargs="+", metavar="NAME", help="these units of the machine alone; all by default")
    what.add_argument("--whole", action="store_true", help="the machine as one")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    parser.add_argument("--keep", action="store_true",
                        help="keep the results in hw/synthesis, for the tables of `make docs`, with those kept there "
                             "that were measured on the same sources")
    parser.add_argument("--limit", type=int, default=place.LIMIT_SECONDS, metavar="SECONDS",
                        help="give a design up after so much CPU time in nextpnr; %(default)s by default")
    options = parser.parse_args(arguments)
    if sentence := place.missing():
        _say(sentence)
        return 2
    whole = sources.machine(options.config)
    known = {name: text for name, (_, text) in design.split(whole)[1].items()} | {_WHOLE: whole}
    units = [name for name in known if name != _WHOLE]
    names = [_WHOLE] if options.whole else options.unit or units
    unknown = [name for name in names if name not in known]
    if unknown:
        _say(f"The machine has no unit {unknown[0]!r}; it has {', '.join(known)}.")
        return 2
    def keep(result: place.Routed) -> None:
        name = f"{options.config.name}-pnr"
        path = synthesis.keep(name, merged([asdict(result)], synthesis.kept(name), units))
        _say(f"{result.unit}: kept in {path}; `make docs` writes the pages")

    results, failures = measure({name: known[name] for name in names}, options.limit,
                                keep if options.keep else lambda result: None)
    entries = [asdict(result) for result in results]
    print(json.dumps(entries, indent=1) if options.json else "\n".join(
        [synthesis.clocks(entries, TARGET.part, TARGET.has), "",
         *(f"{result.unit}, {result.mhz:.1f} MHz: {result.path}" for result in results if result.mhz), "",
         *sentences(entries, units)]))
    for failure in failures:
        _say(failure)
    return 1 if failures else 0


def measure(texts: dict[str, str], limit: int,
            done: Callable[[place.Routed], None]) -> tuple[list[place.Routed], list[str]]:
    """(What was placed, why the others were not), one by one, with progress; ``done`` is called after each, so that
    nothing is lost when a later one fails."""
    results, failures = [], []
    for n, (name, text) in enumerate(texts.items(), 1):
        try:
            results.append(place.place(text, name, _progress(f"[{n}/{len(texts)}] {name}"), limit))
        except (RuntimeError, ValueError) as error:
            failures.append(f"{name}: {error}")
            continue
        reached = f"{results[-1].mhz:.1f} MHz" if results[-1].mhz else _left(asdict(results[-1]))
        _say(f"{name}: {reached}, {results[-1].used['LUT4']:,} LUT4")
        done(results[-1])
    return results, failures


def merged(entries: list[dict], kept: dict, units: list[str]) -> dict:
    """A result file of ``entries`` and of those ``kept`` before that are of the same sources and part."""
    now = {"sources": sources.digest(), "part": TARGET.part, "has": TARGET.has}
    old = kept.get("units", []) if all(kept.get(name) == value for name, value in now.items()) else []
    both = {entry["unit"]: entry for entry in (*old, *entries)}
    found = [both[name] for name in (*units, _WHOLE) if name in both]
    return now | {"units": found, "sentences": sentences(found, units)}


def sentences(entries: list[dict], units: list[str]) -> list[str]:
    """Summary of the table: the whole machine's slowest path and how full it makes the part; the slowest unit alone;
    those given up; those of ``units`` that are missing, or whether the part would hold all."""
    lines, routed = [], {entry["unit"]: entry for entry in entries if entry["mhz"]}
    top = routed.pop(_WHOLE, None)
    if top:
        lines += [f"The whole machine reaches {top['mhz']:.1f} MHz on {TARGET.part} with {place.TOOL}. "
                  f"Its slowest path: `{top['path']}`.",
                  f"LUTs, carries, registers alone and memories of LUTs take {top['places']:,} of the part's "
                  f"{TARGET.has['LUT4']:,} places for a LUT."]
    if routed:
        slowest = min(routed.values(), key=lambda entry: entry["mhz"])
        lines.append(f"The slowest unit alone is {slowest['unit']}, {slowest['mhz']:.1f} MHz: `{slowest['path']}`.")
    if given_up := [f"{entry['unit']} ({_left(entry)})" for entry in entries if not entry["mhz"]]:
        lines.append(f"Not routed to the end: {', '.join(given_up)}.")
    if missing := [name for name in units if name not in {entry["unit"] for entry in entries}]:
        return [*lines, f"Not measured yet: {', '.join(missing)}."]
    total = sum((Counter(entry["used"]) for entry in entries if entry["unit"] != _WHOLE), Counter())
    luts = places(total["LUT4"], total["ALU"], total["RAM16"])
    if not top and luts + total["FF"] > TARGET.has["LUT4"]:
        lines.append(f"Together the units take {luts:,} places of LUTs (LUTs, carries, memories of LUTs) and "
                     f"{total['FF']:,} registers, which take such a place too where they follow no LUT, of "
                     f"{TARGET.has['LUT4']:,}: whether the whole machine fits one part, --whole tells.")
    return lines


def _left(entry: dict) -> str:
    """How far a design that was given up had come."""
    if shared := entry.get("shared"):
        return f"placed; {shared:,} wires left with more than one net"
    return "not placed in the time given"


def _progress(unit: str) -> Callable[[str], None]:
    return lambda text: _say(f"{unit}: {text}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
