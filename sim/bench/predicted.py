# SPDX-License-Identifier: Apache-2.0
"""Models x machines by the performance model, without RTL: cycles with ideal memory and with that of the board.

All experts are hit alike. `make bench MODEL=... CONFIG=...` measures a cell of the table in RTL.
"""

import argparse
import json
from pathlib import Path

from rich.table import Table

from golden.files.machine_file import machine_of
from golden.spec.machine import MachineConfig
from golden.spec.model import MODELS, ModelConfig
from golden.spec.quantized import Plan
from host.compiler.compile import encode, plan_program
from host.compiler.skeleton import empty
from host.compiler.weight_stream import Stream
from host.explore.area import area
from host.ir.nodes import NotFitting, flat
from host.performance.timeline import Timeline
from host.progress import printer
from host.report.measured import commit, keep, milliseconds
from sim.bench.cases import FAST, MOST_CYCLES, USUAL
from sim.device import dram_model

HALF = Path(__file__).with_name("u280-half.json")
MODEL_NAMES = ("m3vit-tiny", "deit-tiny", "deit-small", "m3vit-small")
MACHINES = ("small", "kv260", "zcu102", str(HALF), "u280")

out = printer()


def predicted(config: ModelConfig, machine: MachineConfig) -> dict:
    """One cell: cycles by case; or the sentence that refuses the model."""
    facts = {"model": config.name, "machine": machine.name, "tokens": config.tokens,
             "macs_per_cycle": machine.macs_per_cycle, "dsp": area(machine).dsp}
    stream = Stream()
    try:
        nodes = plan_program(empty(config, Plan.fast(config.depth)), machine, stream, config.tasks[:1])
    except NotFitting as refusal:
        return facts | {"refusal": str(refusal)}
    words = encode(nodes, machine, stream)
    cycles = {}
    for case in USUAL:
        cycles[case.name] = Timeline(machine, dram_model(case.dram(machine), machine)).run(words)[-1].end
    return facts | {"macs": sum(node.macs for node in flat(nodes)), "experts_hit": config.experts, "cycles": cycles}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-table", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the figures for the table of `make docs`")
    parser.add_argument("--json", action="store_true", help="also print one JSON object")
    options = parser.parse_args(arguments)

    table = Table("model", "machine", "MAC/cycle", "cycles, ideal", "cycles, board", "ms, ideal", "array use", "must",
                  title="predicted, fast plan, ideal memory and that of the board; all experts hit alike; 300 MHz")
    cells: list[dict] = []
    for name in MODEL_NAMES:
        for machine in map(machine_of, MACHINES):
            found = predicted(MODELS[name], machine)
            cells.append(found)
            if "refusal" in found:
                table.add_row(name, machine.name, f"{machine.macs_per_cycle:,}", "does not fit")
                continue
            ideal = found["cycles"][FAST.name]
            most = MOST_CYCLES.get((name, machine.name), {})
            musts = ", ".join(f"{most[case]:,} {'board' if case.board else 'ideal'}" for case in USUAL if case in most)
            table.add_row(name, machine.name, f"{machine.macs_per_cycle:,}",
                          *(f"{found['cycles'][case.name]:,.0f}" for case in USUAL), f"{milliseconds(ideal):.3f}",
                          f"{found['macs'] / ideal / machine.macs_per_cycle:.3f}", musts)
    out.print(table)
    if options.keep:
        out.print(f"kept in {keep('predicted', {'commit': commit(), 'cells': cells})}; `make docs` writes the page",
                  highlight=False)
    if options.json:
        print(json.dumps(cells))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
