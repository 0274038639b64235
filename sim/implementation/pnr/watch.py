# SPDX-License-Identifier: Apache-2.0
"""Runs nextpnr, reports its progress, and ends it when its router makes no more progress."""

import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

EVERY = 15
"""Seconds between two progress messages of a run."""
ROUNDS = 200
"""Rounds in which the router must get at least a tenth of the wires apart that more than one net still uses. The whole
of `small` keeps 50 to 90 of them for 140 rounds before the last are gone."""
_WAIT = 8
"""How many times its CPU seconds a run may take on a busy machine."""
_POLL = 0.5
_ROUND = re.compile(r"iter=(\d+) wires=\d+ overused=(\d+)")
_STEP = re.compile(r"at iteration #(\d+)")


def run(command: list[str], directory: Path, log: Path, limit: int,
        say: Callable[[str], None]) -> tuple[int | None, int]:
    """(exit status, wires that more than one net used in the router's last round); the status is None when it was given
    up: after ``limit`` CPU seconds, or by :func:`stuck`. ``say`` is called at intervals with its progress."""
    began = spoke = time.monotonic()
    with open(log, "w") as output, subprocess.Popen(
            command, cwd=directory, stdout=output, stderr=output,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))) as process:
        try:
            while True:
                try:
                    status = process.wait(timeout=_POLL)
                    shared = rounds(log.read_text(errors="replace"))
                    return None if status in (-signal.SIGXCPU, -signal.SIGKILL) else status, (shared or [0])[-1]
                except subprocess.TimeoutExpired:
                    text, now = log.read_text(errors="replace"), time.monotonic()
                    if stuck(shared := rounds(text)) or now - began > _WAIT * limit:
                        return None, (shared or [0])[-1]
                    if now - spoke > EVERY:
                        spoke = now
                        say(f"{stage(text)}: {now - began:.0f} s")
        finally:
            process.kill()  # or leaving would wait for it


def rounds(text: str) -> list[int]:
    """Wires that more than one net used after each round of the router, of nextpnr's log."""
    return [int(shared) for _, shared in _ROUND.findall(text)]


def stuck(shared: list[int]) -> bool:
    """Whether the last :data:`ROUNDS` rounds got less than a tenth of the shared wires apart."""
    return len(shared) > ROUNDS and min(shared[-ROUNDS:]) > 0.9 * min(shared[:-ROUNDS])


def stage(text: str) -> str:
    """The latest progress in a log."""
    if found := _ROUND.findall(text):
        return f"nextpnr routes, round {found[-1][0]}, {int(found[-1][1]):,} wires with more than one net"
    steps = _STEP.findall(text)
    return f"nextpnr places, step {steps[-1]}" if steps else "nextpnr packs, and looks for a first placement"
