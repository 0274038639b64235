# SPDX-License-Identifier: Apache-2.0
"""How a verb is declared: its group in the overview, its examples, its help."""

from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperOption

MODELS, RUN, MEASURE, TRAIN, MACHINES, BOARDS, SETTINGS = GROUPS = (
    "Models", "Run", "Measure", "Train", "Machines", "Boards", "Settings")
"""Groups of verbs, in the order of the overview."""


class Verb(TyperCommand):
    """A command whose help ends with examples, and whose flags show no type."""

    def __init__(self, *arguments: Any, epilog: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = tuple((epilog or "").split("\n"))
        """Command lines, ready to be typed."""
        for parameter in self.params:
            if isinstance(parameter, TyperOption):
                parameter.show_envvar = False  # `edge-moe config` tells them all
                parameter.metavar = "" if parameter.is_flag else parameter.metavar

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; on the Tab key without an option whose value is just being typed, which would hide all arguments."""
        waiting = [each for each in self.params if args and args[-1] in each.opts and isinstance(each, TyperOption)]
        if ctx.resilient_parsing and waiting and not waiting[0].is_flag:
            args = args[:-1]
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.metavar = ""
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print typer's help, and the examples."""
        super().format_help(ctx, formatter)
        out = Console()
        out.print("[bold]Examples[/]")
        for example in self.examples:
            out.print(f"  {example}", markup=False, highlight=False, soft_wrap=True)

    @property
    def sentence(self) -> str:
        """First sentence of the help: what the verb does."""
        return (self.help or "").split("\n\n")[0].replace("\n", " ")


def verb(app: typer.Typer, group: str, *examples: str, name: str | None = None) -> Callable[[Callable], Callable]:
    """Decorator: the function is a verb of ``app``, listed under ``group`` of :data:`GROUPS`; its docstring opens with
    one short sentence, which the overview shows. ``examples`` are command lines of at most 78 characters.
    """
    assert group in GROUPS and examples
    return app.command(name, cls=Verb, rich_help_panel=group, epilog="\n".join(examples))
