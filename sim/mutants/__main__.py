# SPDX-License-Identifier: Apache-2.0
"""``make mutants``: mutants drawn from the source of a unit, each tried on the unit's benches; score and survivors."""

import argparse
import os
import sys
import tomllib
from collections import Counter
from functools import partial
from pathlib import Path

from rich.table import Table

from host.interrupts import ends_on_sigterm
from host.parallel_map import ClusterError, add_parallel_options, parallel_map
from host.progress import printer, steps
from sim.mutants.sites import Mutant, draw
from sim.mutants.trial import COUNTED, LIMIT, RESULTS, Outcome, of_unit
from sim.mutants.units import UNITS

COUNT = 10
EXPLAINED = Path(__file__).with_name("explained.toml")


def explained(path: Path = EXPLAINED) -> dict[tuple[str, str, str], str]:
    """(module, changed lines before, after) -> why no bench can find this mutant."""
    found = tomllib.loads(path.read_text()).get("survivor", [])
    return {(entry["module"], entry["old"], entry["new"]): entry["reason"] for entry in found}


def reason(mutant: Mutant, reasons: dict) -> str:
    """Why no bench can find it; empty where nothing is known."""
    return reasons.get((mutant.module, *mutant.lines()), "")


def score(outcomes: list[Outcome], reasons: dict) -> tuple[int, int]:
    """(killed, all that count): explained survivors do not count, since nothing can find them."""
    counted = [outcome for outcome in outcomes if outcome.result in COUNTED]
    open_ = [outcome for outcome in counted if outcome.result == "survived" and not reason(outcome.mutant, reasons)]
    killed = [outcome for outcome in counted if outcome.result != "survived"]
    return len(killed), len(killed) + len(open_)


def table(outcomes: list[Outcome], reasons: dict) -> Table:
    """A row for each unit, and one for all."""
    view = Table("unit", "drawn", *RESULTS, "explained", "score", title="mutants")
    for unit in [*dict.fromkeys(outcome.unit for outcome in outcomes), "all"]:
        mine = [outcome for outcome in outcomes if unit in (outcome.unit, "all")]
        counts = Counter(outcome.result for outcome in mine)
        told = sum(outcome.result == "survived" and bool(reason(outcome.mutant, reasons)) for outcome in mine)
        killed, all_ = score(mine, reasons)
        view.add_row(unit, str(len(mine)), *(str(counts[result]) for result in RESULTS), str(told),
                     f"{killed} of {all_}" + (f", {100 * killed / all_:.1f} %" if all_ else ""))
    return view


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every mutant was found or is explained, 1 otherwise, 2 for bad arguments, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--unit", action="append", choices=sorted(UNITS), help="all when none is given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=COUNT, help="mutants of each unit that count for the score")
    parser.add_argument("--limit", type=float, default=LIMIT, help="processor seconds for one simulation")
    parser.add_argument("--list", action="store_true", help="print the drawn mutants, run nothing")
    add_parallel_options(parser, workers=1)
    options = parser.parse_args(arguments)
    units = options.unit or list(UNITS)
    if options.list:
        for unit in units:
            for mutant in draw(unit, options.seed)[:options.count]:
                print(mutant.diff())
        return 0
    try:
        with steps(f"mutants with seed {options.seed}") as report:
            found = parallel_map(partial(of_unit, options.seed, options.count, options.limit), units,
                                 scheduler=options.scheduler, workers=options.workers, report=report)
    except (ClusterError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    outcomes, reasons = [outcome for part in found for outcome in part], explained()
    printer().print(table(outcomes, reasons))
    for outcome in outcomes:
        if outcome.result == "survived":
            why = reason(outcome.mutant, reasons)
            print(f"survived: {outcome.mutant.diff()}" + (f"\n    explained: {why}" if why else ""))
    killed, all_ = score(outcomes, reasons)
    return 0 if killed == all_ else 1


if __name__ == "__main__":
    os.nice(5)
    with ends_on_sigterm():
        raise SystemExit(main())
