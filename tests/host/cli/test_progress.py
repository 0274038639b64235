# SPDX-License-Identifier: Apache-2.0
"""Progress is a plain line now and then when piped, a bar on a terminal, and never on standard output."""

import io

import pytest
from rich.console import Console

from host import progress


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def piped(monkeypatch):
    """(what was printed, the clock)."""
    text, clock = io.StringIO(), Clock()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=False, width=40))
    monkeypatch.setattr(progress, "time", clock)
    return text, clock


def test_short_work_says_nothing(piped):
    text, clock = piped
    with progress.steps("quantize nano") as report:
        for done in range(1, 13):
            clock.now += 0.4
            report(done, 12, f"block {done}")
    assert text.getvalue() == ""


def test_long_work_says_a_line_now_and_then(piped):
    text, clock = piped
    with progress.steps("quantize [bold]a model with quite a long name") as report:
        for done in range(1, 101):
            clock.now += 1.0
            report(done, 100, "blocks.3.mlp")
    lines = text.getvalue().splitlines()
    assert len(lines) == 20
    assert lines[0] == ("quantize [bold]a model with quite a long name: 5/100 blocks.3.mlp  5 s, about 95 s left")
    assert lines[-1].endswith(": 100/100 blocks.3.mlp  100 s, about 0 s left")


def test_what_was_done_earlier_does_not_count_as_fast(piped):
    text, clock = piped
    with progress.steps("train", earlier=90) as report:
        clock.now += 6
        report(92, 100)
    assert text.getvalue() == "train: 92/100   6 s, about 24 s left\n"


def test_nothing_done_yet_promises_nothing(piped):
    text, clock = piped
    with progress.steps("load") as report:
        clock.now += 6
        report(0, 10)
    assert text.getvalue() == "load: 0/10   6 s\n"


def test_cycles_tell_speed_and_time_left(piped):
    text, clock = piped
    with progress.cycles("frame", 1_000_000) as report:
        clock.now += 10
        report(250_000)
    assert text.getvalue() == "frame: 250000/1000000 25 kcycles/s  10 s, about 30 s left\n"


def test_more_cycles_than_expected_do_not_flood(piped):
    text, clock = piped
    with progress.cycles("frame", 1000) as report:
        for i in range(1, 1001):
            clock.now += 0.01
            report(2000 * i)
    lines = text.getvalue().splitlines()
    assert len(lines) in (1, 2) and "/" in lines[0] and lines[0].endswith("about 0 s left")


def test_an_unknown_length_divides_by_nothing(piped):
    text, clock = piped
    with progress.cycles("frame", 0) as report:
        report(0)
        clock.now += 6
        report(0)
        report(10)
    assert text.getvalue() == "frame: 0/0 0 kcycles/s  6 s\n"


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=True, width=120))
    with progress.cycles("frame on sim", 100) as report:
        report(50)
        report(150)
    assert "frame on sim" in text.getvalue() and "\n\n" not in text.getvalue()


def test_an_exception_passes_through(piped):
    with pytest.raises(KeyError), progress.cycles("frame", 10):
        raise KeyError


def test_progress_goes_to_standard_error():
    assert progress.Console(stderr=True).stderr and progress.console.stderr
