# SPDX-License-Identifier: Apache-2.0
"""Verb ``report``: one HTML file about the run of a picture."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.verb import MEASURE, verb
from host.cli.devices import Buffer, Clock, Uio, Which, opened
from host.cli.options import Csv, Json, Machine, Runnable
from host.cli.output import Told, UsageError, check_output, form_of, show

app = typer.Typer()
PAGES, TRACES = (".html", ".htm"), (".json",)
EQUAL = {True: "yes", False: "NO", None: "it is the device"}


@verb(app, MEASURE, "edge-moe report model.q.safetensors picture.jpg -o report.html",
      "edge-moe report model.emoe picture.jpg -o report.html --trace trace.json")
def report(path: Runnable, picture: Annotated[Path, typer.Argument(help="Picture file.")],
           output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write; it needs no other.")],
           device: Which = "golden", machine: Machine = None, uio: Uio = None, buffer: Buffer = None,
           clock: Clock = None,
           task: Annotated[str | None, typer.Option(help="Which program to run, as edge-moe run has it; by default all "
                                                         "tasks together where the model has task heads, else the "
                                                         "first.")] = None,
           trace: Annotated[Path | None, typer.Option(help="Also write a trace (.json) that Perfetto opens; the page "
                                                           "links to it.")] = None,
           json_: Json = False, csv_: Csv = False):
    """Write a page about the run of a picture.

    It shows results, where the cycles go, every layer, roofline, load of the experts, ranges of the values. What is
    measured and what is the performance model's is marked."""
    from golden.files.machine_file import machine_of
    from host.driver.arguments import program_named
    from host.driver.errors import AccelError
    from host.images import fitted, read_picture
    from host.profile.page import save_page
    from host.profile.perfetto import save_trace
    from host.profile.run import profile
    from host.program import program_of, usual_program, widths_and_pictures
    from host.progress import cycles

    form = form_of(json_, csv_)
    check_output(output, path, picture, suffixes=PAGES)
    check_output(trace, path, picture, suffixes=TRACES)
    if picture.is_dir():
        raise UsageError(f"A report is of one picture; {picture} is a folder.")
    image = program_of(path, None if machine is None else machine_of(machine), *widths_and_pictures(path, task))
    name = program_named(image, task or usual_program(image))
    if image.pictures(name) > 1:
        raise UsageError(f"A report is of one picture; the program {name!r} computes {image.pictures(name)}: name the "
                         f"one without '#'.")
    pixels = fitted(read_picture(picture), image.model)
    expected = sum(symbol.cycles for symbol in image.symbols[name])
    with opened(device, image.machine, uio, buffer, clock) as board, \
            cycles(f"{image.model.name} {name} on {board.name}", expected) as progress:
        found = profile(image, board, pixels, name, progress)
    if trace is not None:
        title = f"{image.model.name} {name} on {found.device} at {found.clock}, times {found.timing}"
        save_trace(found.timed, image.symbols[name], found.clock_hz, trace, title)
    save_page(found, output, _ranges(path, pixels, name, image.tasks(name)), trace)
    show(form, f"{path} on {picture}", {
        "device": found.device, "task": name, "cycles_from": found.cycles_from, "layers_from": found.timing,
        "cycles": round(found.cycles), "milliseconds": found.cycles / found.clock_hz * 1e3,
        "pictures_per_second": found.clock_hz / found.cycles, "clock": found.clock,
        "array_use": found.use, "dram_bytes": found.bytes, "macs": found.macs,
        "equal_to_the_reference_model": Told(found.exact, EQUAL[found.exact]),
        **({"trace": str(trace)} if trace else {}), "written": str(output)})
    if found.exact is False:
        raise AccelError(f"The result of the device {found.device} differs from the reference model's; {output} tells "
                         f"of the run.")


def _ranges(path: Path, pixels, program: str, tasks: tuple[str, ...]):
    """Ranges of the values in a quantized model, None for a program image, which has no tensors."""
    from golden.model.int_model import IntModel
    from golden.model.nested import narrow
    from golden.spec.program.names import width_of
    from host.profile.ranges import value_ranges
    from host.program import is_program

    if is_program(path):
        return None
    model = IntModel.load(path)
    return value_ranges(narrow(model, width_of(program, model.config)), pixels, tasks)
