# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and SIGKILL end parallel work within two seconds, workers too."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from host.interrupts import ctrl_c_later, ends_on_sigterm
from sim.board import build
from tests.host.support.processes import LIMIT, ends_with_its_workers, runs, within

SLEEPERS = """
import sys, time
from functools import partial
from host.interrupts import ends_on_sigterm
from host.parallel_map import parallel_map
if __name__ == "__main__":
    with ends_on_sigterm():
        parallel_map(time.sleep, [600] * 8, workers=2)
"""
COMMANDS = {
    "work that sleeps": ["-c", SLEEPERS],
    "explore": ["-m", "host.cli", "explore", "--board", "kv260", "--model", "nano"],
}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("what", ["work that sleeps", pytest.param("explore", marks=pytest.mark.slow)])
def test_a_signal_ends_the_command_and_its_workers(what, number):
    ends_with_its_workers(COMMANDS[what], number)


def test_an_interrupted_build_ends_its_compilers(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SIGN_OF_LIFE", 0.05)
    told = []

    def progress(text):
        told.append(text)
        if (tmp_path / "started").exists():
            raise KeyboardInterrupt
    command = ["sh", "-c", "sleep 600 & echo $! > pid; mv pid started; wait"]
    with open(tmp_path / "log", "w") as log, pytest.raises(KeyboardInterrupt):
        build._run(command, tmp_path, log, progress)
    compiler = int((tmp_path / "started").read_text())
    assert len(told) > 1 and within(LIMIT, lambda: not runs(compiler))


def test_sigterm_raises_and_what_was_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ends_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("threads", [0, 3])
def test_a_ctrl_c_is_late_and_not_lost(threads):
    """Also where other threads, which do not block the signal, are there to take it."""
    reached, ended = False, threading.Event()
    for _ in range(threads):
        threading.Thread(target=ended.wait, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        with ctrl_c_later():
            os.kill(os.getpid(), signal.SIGINT)
            reached = True
        time.sleep(LIMIT)  # a thread that takes the signal may run its handler a moment later
    ended.set()
    assert reached
