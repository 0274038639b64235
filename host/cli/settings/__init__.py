# SPDX-License-Identifier: Apache-2.0
"""Defaults of options: command line before environment before file before built-in; the verb ``config``.

A variable is called ``EDGE_MOE_RUN_DEVICE`` for ``run --device``; those of :data:`SHARED` are also looked for without
a verb, ``EDGE_MOE_DEVICE``.
"""

import os
from typing import Annotated, Any

import typer

from host.cli.common.complete import verbs
from host.cli.common.verb import SETTINGS, verb
from host.cli.options import Csv, Json
from host.cli.output import Form, UsageError, form_of, plain, print_csv, print_json
from host.cli.settings import file

app = typer.Typer()
SHARED = ("device", "machine", "uio", "buffer", "clock", "scheduler")
"""Options that say where to compute, the same in every verb."""
COLUMNS = ("verb", "option", "value", "from", "where")
BUILT_IN = "built in"
PREFIX = "EDGE_MOE_"
BUILD = "EDGE_MOE_BUILD"
"""The folder of `sim`, which may not be installed."""


def apply(context: typer.Context) -> None:
    """Have the verbs of ``context`` take defaults from the environment and the file; warn of variables that look like
    a default and are none. Raises UsageError."""
    commands: Any = context.command
    known = {file.VARIABLE}
    for name, command in commands.commands.items():
        for long, option in file.options(command).items():
            option.envvar = [variable(f"{name}-{long}"), *([variable(long)] if long in SHARED else [])]
            known |= set(option.envvar)
    _warn({name for name in os.environ if name.startswith(PREFIX)} - known, known)
    path = file.find()
    context.default_map = {} if path is None else file.read(path, commands.commands)


def _warn(unknown: set[str], known: set[str]) -> None:
    """Name the nearest variable for each of ``unknown`` that no other part of the project reads either."""
    if not unknown:
        return
    from golden.model.reference_data import VARIABLE as DATA
    from host.driver.remote import token
    from host.progress import tell

    known = known | {DATA, token.VALUE, token.FILE, BUILD}
    for name in sorted(unknown - known):
        tell(f"warning: nothing reads the variable {name}; the nearest one is {file.nearest(name, known)}.")


def variable(name: str) -> str:
    """The variable for an option.

    >>> variable("run-save-picture")
    'EDGE_MOE_RUN_SAVE_PICTURE'
    """
    return PREFIX + name.upper().replace("-", "_")


@verb(app, SETTINGS, "edge-moe config", "edge-moe config run", "edge-moe config --csv")
def config(context: typer.Context,
           of: Annotated[str | None, typer.Argument(metavar="[VERB]", autocompletion=verbs,
                                                    help="A verb, all of whose options to show; else those of any verb "
                                                         "that are not built in.")] = None,
           json_: Json = False, csv_: Csv = False):
    """Show every default and where it comes from.

    A default is taken from the command line, else from the environment (EDGE_MOE_RUN_DEVICE, EDGE_MOE_DEVICE), else
    from a file, else it is built in. The file is edge-moe.toml in the working folder, else the one that
    EDGE_MOE_CONFIG names, else ~/.config/edge-moe/config.toml: its table defaults holds options of any verb, its table
    run those of run; keys are long options, like save-picture."""
    form, parent = form_of(json_, csv_), context.parent
    assert parent is not None
    commands = parent.command.commands  # type: ignore[attr-defined]  # a group
    if of is not None and of not in commands:
        raise UsageError(f"There is no verb {of!r}; there are {', '.join(commands)}.")
    path = file.find()
    rows = [row for name in commands if of in (None, name) for row in _rows(parent, name)]
    if form is Form.JSON:
        print_json({"file": path, "options": rows})
    elif form is Form.CSV:
        print_csv(rows, COLUMNS)
    else:
        _print(f"file: {path or 'none'}", [row for row in rows if of is not None or row["from"] != BUILT_IN])


def _rows(parent: Any, name: str) -> list[dict]:
    """The options of the verb ``name``, as they are when it is called without any."""
    command = parent.command.commands[name]
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    found = []
    for long, option in file.options(command).items():
        source = context.get_parameter_source(option.name)
        values = {"ENVIRONMENT": ("environment", next((each for each in option.envvar or () if os.environ.get(each)),
                                                      None)),
                  "DEFAULT_MAP": ("file", file.find())}
        origin, where = values.get(source.name if source else "", (BUILT_IN, None))
        found.append(dict(zip(COLUMNS, (name, long, plain(context.params.get(option.name)), origin, where),
                              strict=True)))
    return found


def _print(title: str, rows: list[dict]) -> None:
    from rich.table import Table

    from host.progress import printer

    out = printer()
    out.print(title, highlight=False, markup=False, soft_wrap=True)
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*("none" if row[name] is None else str(row[name]) for name in COLUMNS))
    if rows:
        out.print(table)
    else:
        out.print("Every default is built in.", highlight=False)
