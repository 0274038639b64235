# SPDX-License-Identifier: Apache-2.0
"""``make synth``: LUT, FF, DSP, block memories and logic depth of each unit and of the whole machine, by Yosys."""

import argparse
import json
import sys
from collections.abc import Iterator

from golden.files.machine_file import add_machine_option
from golden.spec.boards import BOARD_OF, BOARDS
from golden.spec.machine import MachineConfig
from host.report import synthesis
from sim.implementation.synth import design, flow, report, sources, units


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0; 1 when a synthesis failed or, with ``--strict``, a limit is exceeded; 2 for an unknown unit."""
    parser = argparse.ArgumentParser(prog="python -m sim.implementation.synth", description=__doc__)
    add_machine_option(parser, "--config")
    parser.add_argument("--unit", nargs="+", metavar="NAME", help="these units alone; the whole machine by default")
    parser.add_argument("--board", choices=sorted(BOARDS), help="compare the areas with this board")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    parser.add_argument("--keep", action="store_true",
                        help="keep the machine's results in hw/synthesis, for the tables of `make docs`")
    parser.add_argument("--strict", action="store_true", help="fail when a depth or the area is over its limit")
    options = parser.parse_args(arguments)
    cfg, known = options.config, units.units()
    if options.board is None and cfg.name not in BOARD_OF:
        parser.error(f"--board must say what {cfg.name} is compared with: {', '.join(BOARDS)}.")
    unknown = [name for name in options.unit or () if name not in known]
    if unknown:
        print(f"There is no unit {unknown[0]!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    results = []
    try:
        for result in _measure(cfg, options.unit or [units.TOP]):
            results.append(result)
            area = result.resources
            _say(f"{result.unit}: {area['LUT']:,} LUT, {area['DSP']} DSP, {result.levels} levels, "
                 f"{result.seconds:.0f} s")
    except (RuntimeError, ValueError) as error:
        _say(str(error))
        return 1
    over = report.violations(results, cfg.name)
    entries = [result.as_json() for result in results]
    table = synthesis.areas(cfg.name, entries, BOARDS[options.board or BOARD_OF[cfg.name]])
    if options.keep and not options.unit:
        _say(f"kept in {synthesis.keep(cfg.name, {'sources': sources.digest(), 'units': entries})}; "
             "`make docs` writes the pages")
    text = "\n".join([table, "", *report.path_lines(results, synthesis.LOGIC["levels"]), "",
                      *report.inference_lines(results), *(["", *over] if over else [])])
    report.save(text + "\n", flow.BUILD / f"{cfg.name}{'-units' if options.unit else ''}.md")
    print(json.dumps(entries, indent=1) if options.json else text)
    return 1 if options.strict and over else 0


def _measure(cfg: MachineConfig, names: list[str]) -> Iterator[report.Result]:
    for n, name in enumerate(names, 1):
        if name == units.TOP:
            yield from report.measure_machine(sources.machine(cfg), _progress)
        else:
            text = design.to_rtlil(units.component(name, cfg))
            yield report.measure(text, name, lambda n=n, name=name: _progress(n, len(names), name))


def _progress(n: int, count: int, name: str) -> None:
    _say(f"[{n}/{count}] {name}: Yosys runs ...")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
