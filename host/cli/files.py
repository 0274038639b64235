# SPDX-License-Identifier: Apache-2.0
"""Verbs ``disasm`` and ``info``: what is in a file."""

from pathlib import Path
from typing import Annotated

import typer

from golden.spec.machine import MACHINES
from host.cli.options import Json, Source
from host.cli.output import describe, show

app = typer.Typer()


@app.command()
def disasm(path: Source,
           task: Annotated[str | None, typer.Option(help="Which program; all when none is named.")] = None):
    """List the instructions of a program image."""
    from golden.spec.program.image import Image
    from host.compiler.disassemble import disassemble, listing

    image = Image.load(path)
    print(disassemble(image) if task is None else "\n".join(listing(image, task)))


@app.command()
def info(path: Annotated[Path | None, typer.Argument(help="A model, a program image or a checkpoint.")] = None,
         json_: Json = False):
    """Tell what a file is; without a file, which machines and devices there are."""
    from importlib.metadata import entry_points

    from host.driver.device import ENTRY_POINTS

    if path is None:
        show(json_, "edge-moe", {
            "devices": ", ".join(sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))),
            "machines": ", ".join(f"{m.name} ({m.macs_per_cycle} MAC/cycle, 0x{m.fingerprint:016x})"
                                  for m in MACHINES.values())})
        return
    show(json_, str(path), _info(path))


def _info(path: Path) -> dict:
    from golden.model.int_model import IntModel
    from golden.spec.program.image import Image
    from host.importers import import_checkpoint
    from host.program import is_program, is_quantized
    from host.progress import tell

    if is_program(path):
        image = Image.load(path)
        return {"kind": "program image", **describe(image.model), "plan": image.plan.name(image.model),
                "machine": image.machine.name,
                "programs": ", ".join(image.programs)}
    if is_quantized(path):
        model = IntModel.load(path)
        wide = sum(value is True for layer in model.plan.layers for value in vars(layer).values())
        return {"kind": "quantized model", **describe(model.config), "plan": model.plan.name(model.config),
                "packed_weights": ", ".join(name for name in model.plan.packed_parts(model.config)) or "none",
                "wide_operands": wide, "source": model.source}
    return {"kind": "float model", **describe(import_checkpoint(path, note=tell).config)}
