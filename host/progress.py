# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: a bar on a terminal, a plain line now and then when piped."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)
PLAIN_WIDTH = 120
"""Columns of tables when no terminal gives its width."""


def printer() -> Console:
    """A console for results on stdout, whose tables stay readable in a pipe or a file."""
    result = Console()
    return result if result.is_terminal else Console(width=PLAIN_WIDTH)


def tell(line: str) -> None:
    """Print a sentence about what is read, or done, to stderr."""
    print(f"edge-moe: {line}", file=sys.stderr)


PLAIN_SECONDS = 5.0
"""Seconds between two plain lines."""


class Report(Protocol):
    """``report(done, total, what)``: how far some work has come, and what it does now; ``total``: None if not known."""

    def __call__(self, done: int, total: int | None, what: str = "", /) -> None: ...


def opening(text: str) -> None:
    """A line about what a device does until it is open."""
    console.print(f"simulated board: {text}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def steps(title: str, earlier: int = 0) -> Iterator[Report]:
    """A function ``report(done, total, what)`` that shows how far ``title`` has come and how long the rest may take.

    ``earlier``: how much of it was done before, by a run that this one continues.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(title, earlier)
        return
    # Standard output stays where it is: results, such as rows of CSV, may go to a file meanwhile.
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[what]}"),
                  console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(title, total=None, completed=earlier, what="")
        yield lambda done, total, what="": bar.update(task, completed=done, total=total, what=what)


@contextmanager
def cycles(title: str, expected: int) -> Iterator[Callable[[int], None]]:
    """A function ``report(done)`` for simulated cycles: cycles, cycles a second, time left of about ``expected``."""
    began = time.monotonic()
    with steps(title) as report:
        def report_cycles(done: int) -> None:
            speed = done / max(time.monotonic() - began, 1e-9)
            report(done, max(expected, done), f"{speed / 1000:.0f} kcycles/s")
        yield report_cycles


@contextmanager
def pictures(title: str, total: int | None) -> Iterator[Callable[[int, str], None]]:
    """A function ``report(done, name)`` for pictures: how many, how many a second, time left, the name of the last."""
    began = time.monotonic()
    with steps(title) as report:
        def report_pictures(done: int, name: str) -> None:
            speed = done / max(time.monotonic() - began, 1e-9)
            report(done, total if total is None else max(total, done), f"{speed:.3g} pictures/s  {name}")
        yield report_pictures


class _Lines:
    """A line every PLAIN_SECONDS; work that takes less says nothing."""

    def __init__(self, title: str, earlier: int = 0):
        self.title, self.earlier = title, earlier
        self.began = self.last = time.monotonic()

    def __call__(self, done: int, total: int | None, what: str = "") -> None:
        now = time.monotonic()
        if now - self.last < PLAIN_SECONDS:
            return
        self.last = now
        new = done - self.earlier
        passed = now - self.began
        left = f", about {passed / new * (total - done):.0f} s left" if total is not None and new > 0 else ""
        console.print(f"{self.title}: {done}/{'?' if total is None else total} {what}  {passed:.0f} s{left}",
                      highlight=False, markup=False, soft_wrap=True)
