# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and SIGKILL end parallel work within two seconds, workers too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host.interrupts import ctrl_c_later, ends_on_sigterm

LIMIT = 2.0
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


def descendants(pid):
    """Processes that ``pid`` started, and theirs, that still run."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def within(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def workers_of(process):
    """Its workers, once two of them are at work: these have another thread, which watches the parent."""
    def watches(pid):
        try:
            spawned = b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
            return spawned and len(os.listdir(f"/proc/{pid}/task")) > 1
        except OSError:
            return False

    def at_work():
        return [pid for pid in descendants(process.pid) if watches(pid)]

    assert within(60, lambda: process.poll() is not None or len(at_work()) >= 2) and process.poll() is None
    return descendants(process.pid)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("what", COMMANDS)
def test_a_signal_ends_the_command_and_its_workers(what, number):
    with subprocess.Popen([sys.executable, *COMMANDS[what]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        try:
            workers = workers_of(process)
            if number is signal.SIGINT:
                os.killpg(process.pid, number)  # a terminal sends it to all
            else:
                process.send_signal(number)
            began = time.monotonic()
            assert within(LIMIT, lambda: process.poll() is not None), "the command goes on"
            assert within(LIMIT + began - time.monotonic(), lambda: not any(map(runs, workers))), "workers go on"
            if number is signal.SIGTERM:
                assert process.returncode == 128 + signal.SIGTERM
            assert process.returncode != 0
        finally:
            for pid in (process.pid, *descendants(process.pid)):
                if runs(pid):
                    os.kill(pid, signal.SIGKILL)


def test_sigterm_raises_and_what_was_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ends_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before


def test_a_ctrl_c_is_late_and_not_lost():
    reached = False
    with pytest.raises(KeyboardInterrupt), ctrl_c_later():
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
