# SPDX-License-Identifier: Apache-2.0
"""``edge-moe --help``: every verb on one line, by groups, on one screen."""

from typing import Any

from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from host.cli.common.verb import GROUPS, Verb

EXAMPLES = ("edge-moe quantize model.safetensors -o model.q.safetensors",
            "edge-moe compile model.q.safetensors -o model.emoe --machine zcu102",
            "edge-moe run model.emoe picture.jpg --save-picture sheet.png")
WIDTH = 80
_HEADING, _NAME = "bold yellow", "bold cyan"


class Overview(TyperGroup):
    """The command ``edge-moe`` itself."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the overview; ``edge-moe VERB --help`` is typer's."""
        for line in self.lines(ctx):
            Console().print(line, soft_wrap=True)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the verbs, by groups."""
        return [name for _, verbs in self.groups() for name in verbs]

    def groups(self) -> list[tuple[str, dict[str, Verb]]]:
        """The groups and their verbs."""
        found: dict[str, dict[str, Verb]] = {group: {} for group in GROUPS}
        for name, command in self.commands.items():
            if isinstance(command, Verb) and not command.hidden:
                found[str(command.rich_help_panel)][name] = command
        return [(group, verbs) for group, verbs in found.items() if verbs]

    def lines(self, ctx: Any) -> list[Text]:
        """The text, line by line."""
        found = [Text.assemble(("Usage: ", _HEADING), f"{ctx.command_path} VERB [OPTIONS] ..."),
                 Text(self.help or ""), Text()]
        for group, verbs in self.groups():
            for number, (name, command) in enumerate(verbs.items()):
                found.append(Text.assemble((f"{'' if number else group:<10}", _HEADING), (f"{name:<11}", _NAME),
                                           command.sentence))
        options = "  ".join(str(option.opts[0]) for option in self.get_params(ctx) if not getattr(option, "hidden", 0))
        found += [Text(), Text.assemble((f"{'Options':<10}", _HEADING), (options, _NAME)),
                  Text.assemble(" " * 10, ("edge-moe VERB --help", _NAME), " shows options and examples of a verb."),
                  Text(), Text("Examples", _HEADING)]
        return found + [Text(f"  {example}") for example in EXAMPLES]
