# SPDX-License-Identifier: Apache-2.0
"""What each of Edge-MoE's ideas is worth on this machine: switched off alone, and added one after the other.

Program and routing are those of m3vit-tiny's first task on one picture. The full design and experts token by token run
on the simulated board, every instruction compared, where its simulators are built already or --rtl builds them; all
else is predicted. Exit status 1 when a bit differs or when RTL and prediction are more than 3 % apart.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from golden.files.machine_file import add_machine_option
from golden.spec.boards.dram import DramTiming
from host.progress import opening, printer
from host.progress import steps as stages
from host.report.comparison import signed
from host.report.measured import commit, keep, milliseconds
from sim import lockstep
from sim.ablation.pictures import save_bars
from sim.ablation.programs import Program, first_task, long_machine, program
from sim.ablation.rows import Measured, Row, Step, alone, cumulative
from sim.bench.cases import moved_bytes
from sim.bench.networks import network
from sim.board import is_built
from sim.board.settings import IDEAL
from sim.device import SimDevice, dram_model

MOST_ERROR = 0.03

out = printer()


def on_the_board(program: Program, pixels, build: bool) -> Measured | None:
    """One frame in RTL; None where the simulator is not built and shall not be."""
    machine = program.image.machine
    if not build and not is_built(machine):
        out.print(f"no simulator of {machine.name} is built: predicted; --rtl builds it", highlight=False)
        return None
    device = SimDevice(machine, progress=opening)
    try:
        compared = lockstep.run(program.image, device, pixels, program.task, program.task, dram=IDEAL)
    finally:
        device.close()
    assert compared.exact, "A run that differs ends with sim.trace.Mismatch."
    return Measured(compared.machine.cycles, moved_bytes(compared.machine.counters, machine))


def print_tables(rows: list[Row], steps: list[Step], title: str) -> None:
    table = Table("without", "instead", "cycles", "of the full", "DRAM MB", "LUT", "DSP", "BRAM36", "from", title=title)
    for row in rows:
        area = map(signed, (row.area.lut, row.area.dsp, row.area.bram36))
        table.add_row(row.name, row.instead, f"{row.cycles:,.0f}", f"{row.cycles / rows[0].cycles:.2f}",
                      f"{row.bytes / 1e6:.1f}", *area, row.source)
    out.print(table)
    table = Table("added", "cycles", "ms at 300 MHz", "speed-up", "from", "paper: ms", "paper: speed-up",
                  title="ideas added one after the other, in the order of the paper's table V")
    for step in steps:
        table.add_row(step.added, f"{step.cycles:,.0f}", f"{milliseconds(step.cycles):.3f}",
                      f"{steps[0].cycles / step.cycles:.2f}", step.source, f"{step.paper_ms:.1f}",
                      f"{steps[0].paper_ms / step.paper_ms:.2f}")
    out.print(table)


def errors(programs: dict[bool, Program], dram: DramTiming, measured: dict[bool, Measured]) -> dict[bool, float]:
    """How far the performance model is from RTL, of each program that was measured."""
    return {which: programs[which].predict(dram, frozenset()).cycles / found.cycles - 1
            for which, found in measured.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make ablation", description=__doc__)
    add_machine_option(parser)
    parser.add_argument("--rtl", action="store_true", help="build the simulators, which takes minutes each")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--keep", action="store_true", help="keep the figures for the table of `make docs`")
    parser.add_argument("--json", action="store_true", help="also print one JSON object")
    options = parser.parse_args(arguments)

    machine, net = options.machine, network("m3vit-tiny", 1)
    model = first_task(net.quantized("fast"))
    programs, measured = {}, {}
    for which, on in ((False, machine), (True, long_machine(machine))):
        with stages(f"compile for {on.name}, experts {'token by token' if which else 'one after the other'}") as report:
            programs[which] = program(model, on, net.pixels[0], which)
            report(1, 1, "")
        found = on_the_board(programs[which], net.pixels[0], options.rtl)
        if found:
            measured[which] = found
    dram = dram_model(IDEAL, machine)
    rows, steps = alone(programs, dram, measured), cumulative(programs, dram, measured)
    print_tables(rows, steps, f"{net.config.name} ({net.source}) on {machine.name}, fast plan, ideal DRAM")
    wrong = errors(programs, dram, measured)
    for which, error in wrong.items():
        out.print(f"performance model over RTL, {programs[which].image.machine.name}: {error:+.2%}", highlight=False)
    options.out.mkdir(parents=True, exist_ok=True)
    save_bars(rows, steps, options.out / "ablation.png")
    out.print(f"picture in {options.out}: ablation.png", highlight=False)
    entry = {"commit": commit(), "machine": machine.name, "model": net.config.name, "weights": net.source,
             "alone": [asdict(row) for row in rows], "cumulative": [asdict(step) for step in steps]}
    if options.keep:
        out.print(f"kept in {keep('ablation', entry)}; `make docs` writes the page", highlight=False)
    if options.json:
        print(json.dumps(entry))
    return 0 if all(abs(error) <= MOST_ERROR for error in wrong.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
