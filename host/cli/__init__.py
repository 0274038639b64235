# SPDX-License-Identifier: Apache-2.0
"""The command ``edge-moe``: import, quantize, compile, run, evaluate, train, scenes, accuracy,
explore, disasm, info, registers, selftest, doctor, compare, report, serve.

Exit status: 0 done; 1 the device or the job failed; 2 the input was refused. Errors are one sentence on stderr;
``--json`` prints one JSON object on stdout instead of tables.

A module holds a group of verbs; :data:`GROUPS` lists them. Verbs import what they need when they run, so that
``--help`` is quick.
"""

import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from golden.files.errors import ModelFileError
from golden.spec.machine import ABI_VERSION
from golden.spec.model import ConfigError
from golden.spec.program.container import ProgramError
from host.cli import diagnosis, evaluation, explore, files, models, registers, run, serve, training
from host.cli.output import UsageError
from host.cli.reports import report
from host.diagnosis.dump import DumpError
from host.driver.errors import AccelError, InputError, VersionMismatch
from host.explore.errors import NothingFits
from host.images import PictureError
from host.interrupts import ends_on_sigterm
from host.ir.nodes import NotFitting
from host.parallel_map import ClusterError
from host.pictures.errors import AnimationError

GROUPS = (models, run, report, evaluation, training, explore, files, registers, diagnosis, serve)
"""Modules of verbs, in the order in which ``--help`` lists them; each has an ``app``."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for group in GROUPS:
    app.add_typer(group.app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edge-moe {version('edge-moe')}, ABI {ABI_VERSION}")
        raise typer.Exit


@app.callback()
def edge_moe(show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.",
                                                        callback=_version, is_eager=True)] = False):
    """Run multi-task vision transformers on the open accelerator, simulated or real."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: a refusal becomes one sentence and exit status 2, a device or job that failed exit status 1."""
    try:
        with ends_on_sigterm():
            app(arguments)
    except (UsageError, PictureError, AnimationError, DumpError, ModelFileError, ProgramError, ConfigError, NotFitting,
            NothingFits, ClusterError, InputError, VersionMismatch) as error:
        _end(2, f"{type(error).__name__}: {error}")
    except AccelError as error:
        _end(1, f"{type(error).__name__}: {error}")
    except OSError as error:
        _end(2, f"{error.filename or 'file'}: {error.strerror or error}.")
    raise SystemExit(0)


def _end(status: int, message: str) -> NoReturn:
    print(f"edge-moe: {message}", file=sys.stderr)
    raise SystemExit(status)
