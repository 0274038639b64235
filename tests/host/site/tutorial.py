# SPDX-License-Identifier: Apache-2.0
"""Reads a tutorial as a user does: types every command and program of the page, in order, and compares what is shown.

A page says with plain sentences what a test must know, and so does its reader:

* a block of class ``output``: these lines come, in this order; ``...`` stands for what differs;
* "Tested here with `X` for `Y`": Y is replaced by X in the block before;
* "Ends with status N": so does the block before; "Leave it running": it goes on until the page ends;
* "goes on where [page](page.md) ended": in the same folder.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from host.site import PAGES, ROOT

LIMIT = 600
"""Most seconds of a block; a busy machine takes ten times as long as a quiet one."""
_FENCE = re.compile(r"^```(?:\{(?P<directive>[\w-]+)\} ?)?(?P<language>\w*)\n(?P<body>.*?)^```$",
                    re.MULTILINE | re.DOTALL)
_BOXES = str.maketrans(dict.fromkeys("│┃┌┐└┘├┤─━┏┓┗┛┡┩╇", " "))
_VARIABLES = re.findall(r"^(\w+) *\?=", (ROOT / "Makefile").read_text(), re.MULTILINE)
"""Of the Makefile: those of the `make test` that runs this would reach the reader's."""
_WRAPPERS = {
    "edge-moe": 'exec "{python}" -m host.cli "$@"',
    "python": 'exec "{python}" "$@"',
    "pytest": 'exec "{python}" -m pytest -p no:cacheprovider "$@"',
    "make": 'exec "{make}" --no-print-directory -o .venv/installed "$@"',  # the environment is there
    "vivado": 'exec "{python}" -m tests.host.site.vivado "$@"',
}


@dataclass
class Block:
    """One thing to type: a shell's lines, a Python program, or a file with its name."""

    kind: str
    text: str
    line: int
    name: str = ""
    shown: list[str] = field(default_factory=list)
    status: int = 0
    stays: bool = False


def blocks(text: str) -> list[Block]:
    """The blocks of a page. Raises ValueError for one that nothing reads."""
    found: list[Block] = []
    matches = list(_FENCE.finditer(text))
    for match, after in zip(matches, [*matches[1:], None], strict=True):
        kind, (options, body) = match["language"], _parts(match)
        if "output" in options.values():
            found[-1].shown += body.splitlines()
        elif kind in ("sh", "python") or "caption" in options:
            found.append(Block("file" if "caption" in options else kind, body, text.count("\n", 0, match.start()) + 1,
                               options.get("caption", "")))
        elif match["directive"] != "toctree":
            raise ValueError(f"Nothing runs the block {kind!r}: make it sh, python, a file, or output.")
        said = text[match.end():after.start() if after else len(text)].partition("\n## ")[0]
        if found:
            _obey(found[-1], said)
    return found


def _parts(match: re.Match) -> tuple[dict[str, str], str]:
    """Options and body of a fence; only directives have options."""
    body, options = match["body"], {}
    while match["directive"] and (one := re.match(r":(\w+): *(.*)\n", body)):
        options[one[1]] = one[2]
        body = body[one.end():]
    return options, body.lstrip("\n")


def _obey(block: Block, said: str) -> None:
    """Take what the sentences after a block say about it."""
    for new, old in re.findall(r"Tested here with `([^`]+)` for `([^`]+)`", said):
        if old not in block.text:
            raise ValueError(f"{old!r} is said to be replaced, but the block in line {block.line} has none.")
        block.text = block.text.replace(old, new)
    if ended := re.search(r"Ends with status (\d+)", said):
        block.status = int(ended[1])
    block.stays |= "Leave it running" in said


def before(text: str) -> str | None:
    """The page on which this one goes on."""
    found = re.search(r"goes on where \[[^]]*\]\((\S+)\.md\) ended", text)
    return found and found[1]


def told(shown: list[str], output: str) -> str | None:
    """The first of the ``shown`` lines that ``output`` has not, in their order; None where it has all."""
    lines = iter([" ".join(line.translate(_BOXES).split()) for line in output.splitlines()])
    for line in shown:
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("..."))
        if not any(re.fullmatch(pattern, came) for came in lines):
            return line
    return None


class Reader:
    """A user in the root of a fresh checkout, whose environment is active."""

    def __init__(self, folder: Path):
        self.folder, self.here, self.left_running = folder / "checkout", folder / "checkout", []
        skip = shutil.ignore_patterns("__pycache__")
        for name in ("golden", "host", "hw", "sim", "tests"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=skip)
        for name in ("Makefile", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, self.folder)
        for name in (".venv", "build"):  # the environment, and boards that were built before
            if (ROOT / name).exists():
                (self.folder / name).symlink_to(ROOT / name)
        commands = folder / "bin"
        commands.mkdir()
        for name, line in _WRAPPERS.items():
            text = line.format(python=sys.executable, make=shutil.which("make"))
            (commands / name).write_text(f"#!/bin/sh\n{text}\n")
            (commands / name).chmod(0o755)
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("EDGE_MOE", "PYTEST", "MAKE")) and name not in _VARIABLES}
        self.env = kept | {"PATH": f"{commands}:{os.environ['PATH']}", "HOME": str(folder), "COLUMNS": "110",
                           "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "NO_COLOR": "1",
                           "XDG_CONFIG_HOME": str(folder / ".config"), "LAST_FOLDER": str(folder / "last-folder")}

    def type(self, block: Block) -> None:
        """Do what a block says; AssertionError where it does not end, or say, as the page shows."""
        if block.kind == "file":
            (self.here / block.name).write_text(block.text)
            return
        words = [sys.executable, "-c", block.text] if block.kind == "python" else \
            ["bash", "-e", "-o", "pipefail", "-c", f'{block.text}pwd > "$LAST_FOLDER"']
        log = self.folder.parent / f"line-{block.line}.txt"
        with log.open("w") as file:
            process = subprocess.Popen(words, cwd=self.here, env=self.env, stdout=file, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        if block.stays:
            self.left_running.append(process)
            self._wait(lambda: log.read_text().strip() or process.poll() is not None, block)
            assert process.poll() is None, f"{block.text}ended:\n{log.read_text()}"
        else:
            try:
                status = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            assert status == block.status, f"Status {status} of the block in line {block.line}:\n{log.read_text()}"
            last = Path(self.env["LAST_FOLDER"])
            self.here = Path(last.read_text().strip()) if last.exists() else self.here
        missing = told(block.shown, log.read_text())
        assert missing is None, f"Line {block.line} shows {missing!r}, which did not come:\n{log.read_text()}"

    @staticmethod
    def _wait(condition, block: Block) -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, f"Nothing came of line {block.line} within {LIMIT} s."
            time.sleep(0.1)

    def close(self) -> None:
        """End what the page left running."""
        for process in self.left_running:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        self.left_running.clear()


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()
