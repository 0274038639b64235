# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: a bar on a terminal, a plain line now and then when piped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)
PLAIN_SECONDS = 5.0
"""Seconds between two plain lines."""


@contextmanager
def steps(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A function ``report(done, total, what)`` that shows how far ``title`` has come and how long the rest may take."""
    began = last = time.monotonic()
    if console.is_terminal:
        with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                      TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[what]}"),
                      console=console, transient=True) as bar:
            task = bar.add_task(title, total=None, what="")
            yield lambda done, total, what="": bar.update(task, completed=done, total=total, what=what)
        return

    def plain(done: int, total: int, what: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_SECONDS and done < total:
            return
        last = now
        left = (now - began) / done * (total - done) if done else 0.0
        console.print(f"{title}: {done}/{total} {what}  {now - began:.0f} s, about {left:.0f} s left", highlight=False)

    yield plain


@contextmanager
def cycles(title: str, expected: int) -> Iterator[Callable[[int], None]]:
    """A function ``report(done)`` for simulated cycles: cycles, cycles a second, time left of about ``expected``."""
    began = time.monotonic()
    with steps(title) as report:
        def told(done: int) -> None:
            speed = done / max(time.monotonic() - began, 1e-9)
            report(done, max(expected, done), f"{speed / 1000:.0f} kcycles/s")
        yield told
