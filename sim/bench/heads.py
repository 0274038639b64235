# SPDX-License-Identifier: Apache-2.0
"""Benchmark of full M3ViT task heads on zcu102: the whole frame in RTL, each instruction compared, then each head."""

import argparse
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
from rich.table import Table

from golden.device import GoldenDevice
from golden.iss.trace import Entry
from golden.model.random_int_model import random_int_model
from golden.spec.heads import HeadConfig
from golden.spec.isa import Opcode, Region
from golden.spec.machine import LINE, MACHINES
from golden.spec.model import M3VIT_TINY
from golden.spec.program.image import Image, Symbol
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.layout import prepare_input
from host.driver.result import same
from host.driver.session import Session
from host.progress import console as notes
from host.progress import cycles, printer
from sim.board.settings import DRAM_PRESETS
from sim.demo.layers import stream_bytes
from sim.device import SimDevice
from sim.trace import Mismatch, Retired, Tracer

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
                       sum(stream_bytes(item.entry) for item in own) / needed_bytes([item.entry for item in own]))


def needed_bytes(entries: list[Entry]) -> int:
    """Least bytes of a head: each line of its weights once, each line of DRAM that it stores or loads once."""
    lines = {"weights": set(), "stored": set(), "loaded": set()}
    for entry in entries:
        f = entry.fields
        if entry.opcode is Opcode.STORE:
            lines["stored"].update(range(f["offset"], f["offset"] + f["rows"]))
        elif entry.opcode is Opcode.LOAD and f["region"] == Region.OUTPUT:
            lines["loaded"].update(range(f["offset"], f["offset"] + f["rows"]))
        elif "stream" in f:
            lines["weights"].update(range(f["stream"], f["stream"] + stream_bytes(entry) // LINE))
    return LINE * sum(map(len, lines.values()))


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
    task, entries = "+".join(CONFIG.tasks), []
    golden = Session(image, GoldenDevice(image.machine, trace=entries.append)).frame(pixels, task)
    device = SimDevice(image.machine, DRAM_PRESETS[options.dram],
                       progress=lambda text: notes.print(f"simulated board: {text}", highlight=False))
    try:
        session = Session(image, device)
        session.start(prepare_input(pixels, image.input), task)
        tracer = Tracer(device.board, entries)
        with cycles(f"{task} on {device.name}", sum(symbol.cycles for symbol in image.symbols[task])) as report:
            tracer.run(session.job_limit, report)
        result = session.finish()
    except Mismatch as error:
        notes.print(f"The machine differs from golden: {error}")
        return 1
    finally:
        device.close()

    exact = same(result, golden)
    heads = [measured(head, tracer.retired, image.symbols[task], image) for head in CONFIG.task_heads]
    table = Table("head (256 channels)", "cycles", "ms at 300 MHz", "array use", "DRAM bytes / needed",
                  title=f"{CONFIG.name}, {options.plan}, on {image.machine.name}: both backbones and both heads in "
                        f"{result.cycles:,} cycles, {len(entries)} instructions compared, "
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
