# SPDX-License-Identifier: Apache-2.0
"""Benchmark of full M3ViT task heads on zcu102: the whole frame in RTL, each instruction compared, then each head."""

import argparse
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
from rich.table import Table

from golden.iss.trace import Entry
from golden.model.random_int_model import random_int_model
from golden.spec.heads import HeadConfig
from golden.spec.isa import Opcode
from golden.spec.machine import LINE, MACHINES, MachineConfig
from golden.spec.model import M3VIT_TINY
from golden.spec.program.image import Image, Symbol
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.profile.work import moved_bytes
from host.progress import console as notes
from host.progress import opening, printer
from sim import lockstep
from sim.bench.cases import weight_lines
from sim.board.settings import DRAM_PRESETS
from sim.device import SimDevice
from sim.trace import Mismatch, Retired

CONFIG = replace(M3VIT_TINY, name="m3vit-tiny-heads", tasks=("semseg", "depth"), task_heads=(
    HeadConfig("semseg", "semseg", 7), HeadConfig("depth", "depth", 1)))
MOST_CYCLES, LEAST_USE, MOST_RATIO = 3_600_000, 0.87, 1.05

out = printer()


@dataclass(frozen=True)
class HeadFigures:
    """Figures of one head in a frame: ``cycles`` from the retirement before it to its last; ``use`` of the array by
    useful multiply-accumulates; ``dram_ratio``: bytes over :func:`needed_bytes`."""

    task: str
    cycles: int
    use: float
    dram_ratio: float


def measured(head: HeadConfig, retired: list[Retired], symbols: tuple[Symbol, ...], image: Image) -> HeadFigures:
    """The figures of ``head``'s instructions among those that ``retired``."""
    own = [item for item in retired if f"{symbols[item.entry.index].name}.".startswith(f"heads.{head.task}.")]
    first = min(item.entry.index for item in own)
    begin = max(item.cycle for item in retired if item.entry.index < first)
    taken = max(item.cycle for item in own) - begin
    macs = head.macs(image.model.dim, *image.model.grid)
    return HeadFigures(head.task, taken, macs / (taken * image.machine.macs_per_cycle),
                       sum(moved_bytes(item.entry, image.machine) for item in own)
                       / needed_bytes([item.entry for item in own], image.machine))


def needed_bytes(entries: list[Entry], machine: MachineConfig) -> int:
    """Least bytes of a head: each line of its weights once, each line of DRAM that it stores or loads once."""
    moved: dict[Opcode, set[int]] = {Opcode.STORE: set(), Opcode.LOAD: set()}
    for entry in entries:
        if entry.opcode in moved:
            moved[entry.opcode].update(range(entry.fields["offset"], entry.fields["offset"] + entry.fields["rows"]))
    return LINE * (len(weight_lines(entries, machine)) + sum(map(len, moved.values())))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-heads", description=__doc__)
    parser.add_argument("--plan", default="fast", choices=("fast", "accurate"))
    parser.add_argument("--dram", default="ideal", choices=sorted(DRAM_PRESETS))
    parser.add_argument("--json", action="store_true", help="also print one JSON object")
    options = parser.parse_args(arguments)

    plan = getattr(Plan, options.plan)(CONFIG.depth, CONFIG.task_heads)
    image = compile_model(random_int_model(CONFIG, plan, seed=1), MACHINES["zcu102"])
    shape = (CONFIG.image_height, CONFIG.image_width, CONFIG.channels)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    task = "+".join(CONFIG.tasks)
    device = SimDevice(image.machine, DRAM_PRESETS[options.dram],
                       progress=opening)
    try:
        compared = lockstep.run(image, device, pixels, task, task)
    except Mismatch as error:
        notes.print(f"The machine differs from golden: {error}")
        return 1
    finally:
        device.close()

    result, exact = compared.machine, compared.exact
    heads = [measured(head, compared.retired, image.symbols[task], image) for head in CONFIG.task_heads]
    table = Table("head (256 channels)", "cycles", "ms at 300 MHz", "array use", "DRAM bytes / needed",
                  title=f"{CONFIG.name}, {options.plan}, on {image.machine.name}: both backbones and both heads in "
                        f"{result.cycles:,} cycles, {len(compared.entries)} instructions compared, "
                        f"{'bit-exact' if exact else 'NOT EQUAL'}")
    for head in heads:
        table.add_row(head.task, f"{head.cycles:,}", f"{head.cycles / 300e3:.2f}", f"{head.use:.3f}",
                      f"{head.dram_ratio:.3f}")
    table.add_row("must", f"<= {MOST_CYCLES:,}", "", f">= {LEAST_USE}", f"<= {MOST_RATIO}")
    out.print(table)
    if options.json:
        print(json.dumps({"cycles": result.cycles, "bit_exact": exact, "heads": [asdict(head) for head in heads]}))
    met = all(head.cycles <= MOST_CYCLES and head.use >= LEAST_USE and head.dram_ratio <= MOST_RATIO for head in heads)
    return 0 if exact and (met or options.dram != "ideal") else 1


if __name__ == "__main__":
    raise SystemExit(main())
