# SPDX-License-Identifier: Apache-2.0
"""The reference of the command line has every verb with all of its options."""

import re

import typer

from host.site import commands
from host.site.commands import verbs


def test_every_verb_and_option():
    text = commands.commands()
    sections = dict(re.findall(r"^## ([\w -]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(verbs()) and {"import", "quantize", "compile", "run", "doctor"} <= set(sections)
    for name, verb in verbs().items():
        for one in verb.params:
            words = one.opts if one.param_type_name == "option" else [(one.metavar or one.name.upper()).strip("[]")]
            assert one.hidden or all(word in sections[name] for word in words), (name, one.name)


def test_what_is_said_of_an_option(monkeypatch):
    app = typer.Typer()

    @app.command()
    def paint(path: str, colours: list[str] | None = typer.Option(None, help="Which, like a|b or *."),  # noqa: B008
              depth: int = typer.Option(3, "--depth", "-d"), out: str = typer.Option(..., help="Where.")):  # noqa: B008
        """Paint a picture.

        Twice."""

    @app.command()
    def other():
        """Nothing."""

    monkeypatch.setattr(commands, "app", app)
    said = commands.commands()
    assert "edge-moe paint PATH [OPTIONS]" in said and "Paint a picture.\n\nTwice." in said
    assert r"| `--colours` | Which, like a\|b or \*. |  |" in said
    assert "| `--depth` `-d` |  | `3` |" in said and "| `--out` | Where. | required |" in said
    assert said.endswith("```text\nedge-moe other\n```\n\nNothing.")


def test_examples_of_a_verb_are_shown(monkeypatch):
    known = verbs()
    monkeypatch.setattr(known["info"], "examples", ("edge-moe info", "edge-moe info a.emoe"), raising=False)
    monkeypatch.setattr(commands, "verbs", lambda: {"info": known["info"]})
    assert commands.commands().endswith("```sh\nedge-moe info\nedge-moe info a.emoe\n```")
