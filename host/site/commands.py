# SPDX-License-Identifier: Apache-2.0
"""Reference of the command line in Markdown, from the definitions that ``edge-moe --help`` reads."""

import inspect
from typing import Any

from typer.main import get_command

from host.cli import app
from host.report.instruction_set import table


def verbs() -> dict[str, Any]:
    """Name -> definition of each verb, in the order of ``--help``; verbs of a group have its name in front."""
    return _leaves(get_command(app))


def _leaves(group: Any, before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, verb in group.commands.items():
        if not verb.hidden:
            found |= _leaves(verb, f"{before}{name} ") if hasattr(verb, "commands") else {f"{before}{name}": verb}
    return found


def commands() -> str:
    """Every verb: what it does, its arguments and options."""
    return "\n\n".join(_verb(name, verb) for name, verb in verbs().items())


def _verb(name: str, verb: Any) -> str:
    arguments = [one for one in verb.params if one.param_type_name == "argument"]
    options = [one for one in verb.params if one.param_type_name != "argument" and not one.hidden]
    words = " ".join(_word(one) for one in arguments)
    parts = [f"## {name}", f"```text\nedge-moe {name}{f' {words}' * bool(words)}{' [OPTIONS]' * bool(options)}\n```",
             _escaped(inspect.cleandoc(verb.help or ""))]
    if arguments:
        parts.append(table(["argument", "meaning"], [[f"`{_word(one)}`", _cell(one.help)] for one in arguments]))
    if options:
        parts.append(table(["option", "meaning", "default"], [
            [" ".join(f"`{text}`" for text in (*one.opts, *one.secondary_opts)), _cell(one.help), _default(one)]
            for one in options]))
    if examples := getattr(verb, "examples", ()):
        parts.append("\n".join(["```sh", *examples, "```"]))
    return "\n\n".join(parts)


def _word(one: Any) -> str:
    word = (one.metavar or one.name.upper()).strip("[]")
    return (word if one.required else f"[{word}]") + "..." * (one.nargs != 1)


def _default(one: Any) -> str:
    if one.required:
        return "required"
    value = one.default() if callable(one.default) else one.default
    if one.is_bool_flag or value is None or value == "":
        return ""
    return ", ".join(f"`{each}`" for each in (value if isinstance(value, list | tuple) else [value]))


def _cell(text: str | None) -> str:
    return _escaped(text or "").replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    """Help is plain text: what Markdown reads as something else is escaped."""
    for mark in "\\<*_[":
        text = text.replace(mark, f"\\{mark}")
    return text
