# SPDX-License-Identifier: Apache-2.0
"""Verbs ``run`` and ``accuracy``: a picture on a device, and the integer model against float."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.devices import Buffer, Clock, Several, Uio, opened
from host.cli.options import Json, Machine, Source
from host.cli.output import UsageError, show

app = typer.Typer()


@app.command()
def run(path: Source,
        picture: Annotated[Path, typer.Argument(help="Picture file, or a folder of them: a drive, in the order of "
                                                     "their names.")],
        device: Several = ["golden"], machine: Machine = None, uio: Uio = None,  # noqa: B006  # typer copies it
        buffer: Buffer = None, clock: Clock = None,
        task: Annotated[str | None, typer.Option(help="Which program to run, TASK@0.5 with half of the neurons of "
                                                      "every FFN, TASK#4 on four pictures at a time; by default "
                                                      "all tasks together where the model has task heads, else the "
                                                      "first.")] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="Write features (.npy: tokens x dim, or "
                                                    "tasks x tokens x dim where several ran), all results (.npz), or "
                                                    "an animation of a folder (.gif, .mp4).")] = None,
        dump: Annotated[Path | None, typer.Option(help="Folder for all tensors of the run, as edge-moe compare reads "
                                                       "them.")] = None,
        normed: Annotated[bool, typer.Option("--normed", help="Write features after the final norm into a .npy; a .npz "
                                             "has both, as features and normed_features.")] = False,
        save_picture: Annotated[Path | None, typer.Option(help="Draw the input and all maps into this file.")] = None,
        scales: Annotated[str | None, typer.Option(help="Features at several scales, like 1,2: of the picture and of "
                                                   "its quarters at twice the size, pooled and joined by channels.")
                          ] = None,
        json_: Json = False):
    """Run a picture (cropped and resized to the model's size) through a quantized model or a program image. A folder
    is shared by as many devices as are named: --device may be given several times."""
    from golden.files.machine_file import machine_of
    from host.cli import results
    from host.driver import Session
    from host.driver.arguments import program_named
    from host.driver.jobs import jobs
    from host.images import fitted, read_picture
    from host.program import program_of, usual_program
    from host.progress import cycles, steps

    pictures = results.files(picture)
    results.check(output, save_picture, picture, path)
    results.check_dump(dump)
    image = program_of(path, None if machine is None else machine_of(machine), *results.programs(path, task))
    name = task or usual_program(image)
    todo = jobs(image, len(pictures), name) if scales is None else []
    if len(device) > 1 and (scales is not None or not picture.is_dir() or uio or buffer):
        raise UsageError("Several devices share a folder of pictures, without --scales, --uio and --buffer.")
    program_named(image, name)
    results.check_normed(normed, image, output)
    if scales is not None:
        if normed:
            raise UsageError("--scales gives features before the final norm: leave --normed out.")
        from host.cli.scales import run_at_scales
        show(json_, f"{path} on {picture}", run_at_scales(
            image, pictures, scales, lambda: opened(device[0], image.machine, uio, buffer, clock), name, output,
            (save_picture, dump)))
        return
    first = fitted(read_picture(pictures[0]), image.model)  # opening a simulator may take minutes
    expected = sum(symbol.cycles for symbol in image.symbols.get(name, ()))
    boards, found, figures = [], [], {}
    try:
        for each in device:
            boards.append(opened(each, image.machine, uio, buffer, clock))
        board, title = boards[0], f"{image.model.name} {name} on {', '.join(each.name for each in boards)}"
        if not picture.is_dir():
            with cycles(title, expected) as report:
                found.append(results.Frame(first, Session(image, board).frame(first, name, progress=report)))
        else:
            with steps(title) as report:
                found, figures = results.folder(image, boards, todo, pictures, report)
    finally:
        for each in boards:
            each.close()
    facts = results.facts(found, image, board, name) | figures
    results.write(found, image, path, name, output, save_picture, facts, normed)
    if dump is not None:
        results.write_dump(found, image, board, name, pictures, dump)
        facts["dump"] = str(dump)
    show(json_, f"{path} on {picture}", facts)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def accuracy(context: typer.Context):
    """The integer model against float, layer by layer; `edge-moe accuracy --help` tells the options."""
    from host.report.accuracy import main as report

    raise typer.Exit(report(context.args, "edge-moe accuracy") or 0)
