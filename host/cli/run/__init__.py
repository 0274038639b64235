# SPDX-License-Identifier: Apache-2.0
"""Verb ``run``: pictures on a device."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.complete import tasks
from host.cli.common.verb import RUN, verb
from host.cli.devices import Buffer, Clock, Several, Uio
from host.cli.options import Csv, Json, Machine, Runnable
from host.cli.output import form_of

app = typer.Typer()


@verb(app, RUN, "edge-moe run model.emoe picture.jpg --save-picture sheet.png",
      "edge-moe run model.emoe drive/ -o drive.gif --task semseg+depth",
      "edge-moe run model.emoe drive.mp4 -o maps.npz --every 5 --frames 100",
      "edge-moe run model.emoe @list.txt --csv",
      "edge-moe run model.emoe drive/ --device remote:A --device remote:B")
def run(path: Runnable,
        picture: Annotated[list[str], typer.Argument(help="Picture files, folders of them by their names, @list.txt "
                                                     "with one path a line, videos.")],
        device: Several = ["golden"], machine: Machine = None, uio: Uio = None,  # noqa: B006  # typer copies it
        buffer: Buffer = None, clock: Clock = None,
        task: Annotated[str | None, typer.Option(help="Which program to run, TASK@0.5 with half of the neurons of "
                                                      "every FFN, TASK#4 on four pictures at a time; by default "
                                                      "all tasks together where the model has task heads, else the "
                                                      "first.", autocompletion=tasks)] = None,
        every: Annotated[int, typer.Option(help="Run every Nth picture or frame only.", min=1)] = 1,
        frames: Annotated[int | None, typer.Option(help="Run at most so many pictures or frames.", min=1)] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="Write features (.npy: tokens x dim, or "
                                                    "tasks x tokens x dim where several ran), all results (.npz), or "
                                                    "an animation of several pictures (.gif, .mp4, .webm, .mkv), at "
                                                    "the rate of the video.")] = None,
        dump: Annotated[Path | None, typer.Option(help="Folder for all tensors of the run, as edge-moe compare reads "
                                                       "them.")] = None,
        normed: Annotated[bool, typer.Option("--normed", help="Write features after the final norm into a .npy; a .npz "
                                             "has both, as features and normed_features.")] = False,
        save_picture: Annotated[Path | None, typer.Option(help="Draw the input and all maps of one picture into this "
                                                               "file.")] = None,
        scales: Annotated[str | None, typer.Option(help="Features at several scales, like 1,2: of the picture and of "
                                                   "its quarters at twice the size, pooled and joined by channels.")
                          ] = None,
        scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler: the devices of its workers, "
                                                      "each called as --device says, share the pictures.")] = None,
        json_: Json = False, csv_: Csv = False):
    """Run pictures, folders, lists or videos on a device.

    The model is a program or a quantized model; pictures are cropped and resized to its size. Several pictures are
    shared by as many devices as are named: --device may be given several times. --csv prints a row a picture, as it
    comes."""
    from host.cli.run import job
    from host.cli.run.files import Files

    job.run(job.Wanted(path, tuple(picture), tuple(device), machine, uio, buffer, clock, task, every, frames, scales,
                       scheduler),
            Files(output, save_picture, dump, normed), form_of(json_, csv_))
