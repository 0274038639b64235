# SPDX-License-Identifier: Apache-2.0
"""Verb ``registers``: the register map for other tools."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.verb import MACHINES, verb
from host.cli.options import Csv, Json, Machine, among
from host.cli.output import Form, UsageError, form_of, print_csv, print_json

app = typer.Typer()
_FORMATS = among("rdl", "ipxact", "c", "html", "markdown", "python")


@verb(app, MACHINES, "edge-moe registers", "edge-moe registers --format c --machine zcu102 -o edge_moe.h",
      "edge-moe registers --csv")
def registers(format_: Annotated[str, typer.Option("--format", autocompletion=_FORMATS,
                                                   help="rdl (SystemRDL), ipxact (IEEE 1685-2009), c, html, markdown "
                                                        "or python.")] = "markdown",
              output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; standard output when "
                                                                                 "none is given.")] = None,
              machine: Machine = None, json_: Json = False, csv_: Csv = False):
    """Write the register map for other tools.

    With --machine, with the fingerprint of that machine."""
    from golden.files.machine_file import machine_of
    from golden.spec.whole_file import write_whole
    from host.registers import FORMATS, facts

    form = form_of(json_, csv_)
    config = None if machine is None else machine_of(machine)
    if format_ not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {format_!r}.")
    if form is not Form.TABLE:
        if output is not None:
            raise UsageError(f"--{form.value} prints the map; leave -o out, or --{form.value}.")
        rows = facts.rows(config)
        print_csv(rows) if form is Form.CSV else print_json({"map": facts.heading(config), "registers": list(rows)})
        return
    text = FORMATS[format_](config)
    if output is None:
        print(text, end="")
    else:
        write_whole(output, lambda path: path.write_text(text))
