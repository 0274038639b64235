# SPDX-License-Identifier: Apache-2.0
"""Verb ``registers``: the register map for other tools."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.options import Machine
from host.cli.output import UsageError

app = typer.Typer()


@app.command()
def registers(format_: Annotated[str, typer.Option("--format", help="rdl (SystemRDL), ipxact (IEEE 1685-2009), c, "
                                                                    "html, markdown or python.")] = "markdown",
              output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; standard output when "
                                                                                 "none is given.")] = None,
              machine: Machine = None):
    """Write the register map for other tools; with --machine, with the fingerprint of that machine."""
    from golden.files.machine_file import machine_of
    from golden.spec.whole_file import write_whole
    from host.registers import FORMATS

    if format_ not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {format_!r}.")
    text = FORMATS[format_](None if machine is None else machine_of(machine))
    if output is None:
        print(text, end="")
    else:
        write_whole(output, lambda path: path.write_text(text))
