# SPDX-License-Identifier: Apache-2.0
"""Options and arguments that several verbs take, and their values on a shell's Tab key."""

from pathlib import Path
from typing import Annotated

import typer

from golden.spec.machine import MACHINES

_MACHINES = f"{', '.join(MACHINES)}, or FILE.json as explore prints it (FILE.json:NAME of several)"


def among(*names: str):
    """What completes an option: the ``names`` that begin as typed."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


machines = among(*MACHINES)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values, the names first.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]
Source = Annotated[Path, typer.Argument(help="File or folder to read.")]
Runnable = Annotated[Path, typer.Argument(metavar="MODEL", help="Program (.emoe) or quantized model (.safetensors).")]
Machine = Annotated[str | None, typer.Option(help=f"Machine configuration: {_MACHINES}.", autocompletion=machines)]
Preset = Annotated[str, typer.Option(help=f"Machine configuration: {_MACHINES}.", autocompletion=machines)]
Fits = Annotated[str | None, typer.Option("--machine", autocompletion=machines,
                                          help=f"Refuse a model that this machine does not hold: {_MACHINES}.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler; every core of this machine when none "
                                                    "is given.")]
