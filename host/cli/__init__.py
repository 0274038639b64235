# SPDX-License-Identifier: Apache-2.0
"""The command ``edge-moe``; ``edge-moe --help`` lists its verbs.

Exit status: 0 done; 1 the device or the job failed; 2 the input was refused. Errors are one sentence on stderr;
``--json`` prints one JSON object on stdout instead of tables, ``--csv`` comma-separated values. Defaults of options
come from a file (:mod:`host.cli.settings`).

A module holds a group of verbs; :data:`GROUPS` lists them. Verbs import what they need when they run, so that
``--help`` is quick and needs no extra.
"""

import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from golden.spec.machine import ABI_VERSION
from host.cli import accuracy, diagnosis, evaluation, explore, files, models, registers, run, serve, settings, training
from host.cli.common.overview import Overview
from host.cli.common.refusals import refusal
from host.cli.reports import report
from host.interrupts import ends_on_sigterm

GROUPS = (models, files, run, report, accuracy, evaluation, training, explore, registers, diagnosis, serve, settings)
"""Modules of verbs; each has an ``app``."""
NAME = "edge-moe"

app = typer.Typer(cls=Overview, no_args_is_help=True, pretty_exceptions_enable=False)
for group in GROUPS:
    app.add_typer(group.app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"{NAME} {version(NAME)}, ABI {ABI_VERSION}")
        raise typer.Exit


@app.callback()
def edge_moe(context: typer.Context,
             show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.",
                                                        callback=_version, is_eager=True)] = False):
    """Run multi-task vision transformers on the open accelerator, simulated or real."""
    settings.apply(context)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: a refusal becomes one sentence and exit status 2, a device or job that failed exit status 1."""
    try:
        with ends_on_sigterm():
            get_command(app)(arguments, prog_name=NAME)
    except Exception as error:
        found = refusal(error)
        if found is None:
            raise
        status, sentence = found
        print(f"{NAME}: {sentence}", file=sys.stderr)
        raise SystemExit(status) from None
    raise SystemExit(0)
