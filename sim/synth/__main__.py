# SPDX-License-Identifier: Apache-2.0
"""``make synth``: LUT, FF, DSP, block memories and logic depth of each unit and of the whole machine, by Yosys."""

import argparse
import json
import sys
from pathlib import Path

from golden.spec.boards import BOARD_OF, BOARDS
from golden.spec.machine import MACHINES
from sim.synth import flow, report, units


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0; 1 when a synthesis failed or, with ``--strict``, a limit is exceeded; 2 for an unknown unit."""
    parser = argparse.ArgumentParser(prog="python -m sim.synth", description=__doc__)
    parser.add_argument("--config", choices=sorted(MACHINES), default="zcu102", help="which machine")
    parser.add_argument("--unit", nargs="+", metavar="NAME", help="these units, or `top`; all of both by default")
    parser.add_argument("--board", choices=sorted(BOARDS), help="lay the areas beside this board")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    parser.add_argument("--page", type=Path, help="write the table into this page, between its `measured synth` marks")
    parser.add_argument("--strict", action="store_true", help="fail when a depth or the area is over its limit")
    options = parser.parse_args(arguments)
    cfg, known = MACHINES[options.config], units.units()
    names = options.unit or [name for name in known if name in units.MACHINE or name == units.TOP]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"There is no unit {unknown[0]!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    results, failed = [], False
    for n, name in enumerate(names, 1):
        head = f"[{n}/{len(names)}] {name}"
        try:
            results.append(report.measure(name, cfg, progress=lambda head=head: print(
                f"{head}: Yosys runs ...", file=sys.stderr, flush=True)))
        except (RuntimeError, ValueError) as error:
            print(f"{head}: {error}", file=sys.stderr)
            failed = True
            continue
        result = results[-1]
        print(f"{head}: {result.resources['LUT']:,} LUT, {result.resources['DSP']} DSP, {result.levels} levels, "
              f"{result.seconds:.0f} s", file=sys.stderr, flush=True)
    over = report.violations(results)
    table = report.table(results, cfg, BOARDS[options.board or BOARD_OF[cfg.name]])
    if options.page and not failed:
        options.page.write_text(report.rewritten(options.page.read_text(), f"synth {cfg.name}", table))
    text = "\n".join([table, "",
                      *report.path_lines(results, report.MUST["levels"]), "",
                      *report.inference_lines(results), *(["", *over] if over else [])])
    report.save(text + "\n", flow.BUILD / f"{cfg.name}.md")
    print(json.dumps([result.as_json() for result in results], indent=1) if options.json else text)
    return 1 if failed or (options.strict and over) else 0


if __name__ == "__main__":
    raise SystemExit(main())
