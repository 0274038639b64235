# SPDX-License-Identifier: Apache-2.0
"""Options and arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

from golden.spec.machine import MACHINES

_MACHINES = f"{', '.join(MACHINES)}, or FILE.json as explore prints it (FILE.json:NAME of several)"
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]
Source = Annotated[Path, typer.Argument(help="File or folder to read.")]
Machine = Annotated[str | None, typer.Option(help=f"Machine configuration: {_MACHINES}.")]
Preset = Annotated[str, typer.Option(help=f"Machine configuration: {_MACHINES}.")]
Fits = Annotated[str | None, typer.Option("--machine", help=f"Refuse a model that this machine does not hold: "
                                                            f"{_MACHINES}.")]
