# SPDX-License-Identifier: Apache-2.0
"""Help: one screen of verbs, a sentence and examples for each, quick to come; colours on terminals only."""

import os
import pty
import re
import shlex
import subprocess
import sys

import pytest
from typer.main import get_command

from host.cli import NAME, app
from host.cli.common.overview import EXAMPLES
from host.cli.common.verb import GROUPS

LINES, COLUMNS = 40, 80
VERBS = get_command(app).commands
HEAVY = ("numpy", "torch", "PIL", "matplotlib", "skimage", "sklearn", "av", "amaranth", "asyncio", "host.compiler",
         "host.driver", "host.importers", "golden.model")
ESCAPE = "\x1b["


def test_the_overview_fits_a_screen_and_lists_every_verb_once(edge_moe):
    status, out, _ = edge_moe("--help")
    lines = out.rstrip().splitlines()
    assert status == 0 and len(lines) <= LINES and max(map(len, lines)) <= COLUMNS
    for name in VERBS:
        assert sum(bool(re.match(rf"(\S+| ) +{name}  ", line)) for line in lines) == 1, name
    for option in ("--version", "--install-completion", "--show-completion", "--help"):
        assert option in out
    assert [line.split()[0] for line in lines[3:] if line[:1].strip() and line.split()[0] in GROUPS] == list(GROUPS)
    assert edge_moe()[1].rstrip() == out.rstrip()


@pytest.mark.parametrize("name", VERBS)
def test_help_of_a_verb_opens_with_a_sentence_and_ends_with_examples(name, edge_moe):
    status, out, _ = edge_moe(name, "--help")
    lines, verb = out.rstrip().splitlines(), VERBS[name]
    assert status == 0 and f"Usage: {NAME} {name} " in lines[1]
    assert lines[3].strip() == verb.sentence and verb.sentence.endswith(".") and ". " not in verb.sentence
    assert lines[lines.index("Examples") + 1:] == [f"  {example}" for example in verb.examples]
    assert verb.examples and max(map(len, lines)) <= COLUMNS
    assert all(example == NAME or example.startswith(f"{NAME} {name}") for example in verb.examples)


@pytest.mark.parametrize("example", [*EXAMPLES, *(each for verb in VERBS.values() for each in verb.examples)])
def test_an_example_is_understood(example):
    program, name, *words = shlex.split(example)
    command = get_command(app).commands[name]
    with command.make_context(name, words) as context:
        assert program == NAME and context.params


def test_nothing_heavy_is_imported_for_help():
    code = ("import sys\nfrom host.cli import main\n"
            "for words in (['--version'], ['--help'], ['run', '--help'], ['train', '--help'], ['config']):\n"
            "    try: main(words)\n    except SystemExit: pass\n"
            f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def on_a_terminal(*words, **environment):
    """What a command prints to a terminal."""
    ours, theirs = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM",
                                                                             "GITHUB_ACTIONS", "PY_COLORS")}
    with subprocess.Popen([sys.executable, "-m", "host.cli", *words], stdout=theirs, stderr=theirs, stdin=theirs,
                          env=env | {"TERM": "xterm-256color"} | environment) as command:
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 1 << 16):
                parts.append(part)
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        assert command.wait(60) == 0
    return b"".join(parts).decode()


@pytest.mark.parametrize("words", [("--help",), ("config", "scenes")])
def test_colours_are_for_terminals_only(words):
    assert ESCAPE in on_a_terminal(*words)
    assert not re.search(r"\x1b\[[\d;]*\b(3[0-7]|9[0-7]|38)\b", on_a_terminal(*words, NO_COLOR="1"))
    assert ESCAPE not in on_a_terminal(*words, TERM="dumb")
    piped = subprocess.run([sys.executable, "-m", "host.cli", *words], capture_output=True, text=True, check=True)
    assert ESCAPE not in piped.stdout + piped.stderr
