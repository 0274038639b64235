# SPDX-License-Identifier: Apache-2.0
"""Verbs ``info`` and ``disasm``: what is in a file."""

from pathlib import Path
from typing import Annotated

import typer

from golden.notebook.models import model_facts
from golden.spec.machine import MACHINES
from host.cli.common.complete import tasks
from host.cli.common.verb import MODELS, verb
from host.cli.devices import devices as names_of_devices
from host.cli.options import Csv, Json, Source
from host.cli.output import Form, Told, form_of, print_csv, print_json, show

app = typer.Typer()


@verb(app, MODELS, "edge-moe info", "edge-moe info model.safetensors", "edge-moe info model.emoe --json")
def info(path: Annotated[Path | None, typer.Argument(help="A model, a program image or a checkpoint.")] = None,
         json_: Json = False, csv_: Csv = False):
    """Tell what a file is, or which machines there are."""
    form = form_of(json_, csv_)
    if path is not None:
        show(form, str(path), _info(path))
        return
    devices, machines = names_of_devices(""), [
        {"name": m.name, "macs_per_cycle": m.macs_per_cycle, "fingerprint": f"0x{m.fingerprint:016x}"}
        for m in MACHINES.values()]
    rows = [{"kind": "device", "name": name, "macs_per_cycle": None, "fingerprint": None} for name in devices]
    show(form, "edge-moe", {
        "devices": devices,
        "machines": Told(machines, ", ".join(f"{m['name']} ({m['macs_per_cycle']} MAC/cycle, {m['fingerprint']})"
                                             for m in machines))},
         rows + [{"kind": "machine", **machine} for machine in machines])


@verb(app, MODELS, "edge-moe disasm model.emoe", "edge-moe disasm model.emoe --task semseg --csv")
def disasm(path: Source,
           task: Annotated[str | None, typer.Option(help="Which program; all when none is named.",
                                                    autocompletion=tasks)] = None,
           json_: Json = False, csv_: Csv = False):
    """List the instructions of a program."""
    from golden.spec.program.image import Image
    from host.compiler.disassemble import COLUMNS, disassemble, listing, rows

    form, image = form_of(json_, csv_), Image.load(path)
    programs = tuple(image.programs) if task is None else (task,)
    if form is Form.CSV:
        print_csv((row for name in programs for row in rows(image, name)), COLUMNS)
    elif form is Form.JSON:
        print_json({"model": image.model.name, "machine": image.machine.name,
                    "programs": {name: list(rows(image, name)) for name in programs}})
    else:
        print(disassemble(image) if task is None else "\n".join(listing(image, task)))


def _info(path: Path) -> dict:
    from golden.model.int_model import IntModel
    from golden.spec.program.image import Image
    from host.importers import import_checkpoint
    from host.program import is_program, is_quantized
    from host.progress import tell

    if is_program(path):
        image = Image.load(path)
        return {"kind": "program image", **model_facts(image.model), "plan": image.plan.name(image.model),
                "machine": image.machine.name,
                "programs": ", ".join(image.programs)}
    if is_quantized(path):
        model = IntModel.load(path)
        wide = sum(value is True for layer in model.plan.layers for value in vars(layer).values())
        return {"kind": "quantized model", **model_facts(model.config), "plan": model.plan.name(model.config),
                "packed_weights": ", ".join(name for name in model.plan.packed_parts(model.config)) or "none",
                "wide_operands": wide, "source": model.source}
    return {"kind": "float model", **model_facts(import_checkpoint(path, note=tell).config)}
