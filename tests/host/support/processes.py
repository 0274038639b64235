# SPDX-License-Identifier: Apache-2.0
"""Commands in processes of their own, and what becomes of them and of the processes they started after a signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 2.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
"""Seconds in which all must have ended: two, or more where other work shares the cores."""


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


def workers_of(process, patience):
    """Its workers, once two of them are at work: these have another thread, which watches the parent."""
    def watches(pid):
        try:
            spawned = b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
            return spawned and len(os.listdir(f"/proc/{pid}/task")) > 1
        except OSError:
            return False

    def at_work():
        return [pid for pid in descendants(process.pid) if watches(pid)]

    assert within(patience, lambda: process.poll() is not None or len(at_work()) >= 2) and process.poll() is None
    return descendants(process.pid)


def ends_with_its_workers(arguments, number, patience=60):
    """Run Python with ``arguments``, send the signal once two workers are at work, and see all of them end in time."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        try:
            workers = workers_of(process, patience)
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
