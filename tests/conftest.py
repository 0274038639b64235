# SPDX-License-Identifier: Apache-2.0
"""Setting of all tests: every program that the reference model runs is checked for missing waits; Ctrl-C is heard;
what is slow and rarely fails waits for the night.

``CPU_TIMES`` in the environment names a file that gets the processor seconds of each test, with its builds.
"""

import os
import resource
import signal
from pathlib import Path

import pytest

from golden.iss.machine import Machine

Machine.check_hazards = True

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so shells start what runs in the background; it is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Tests marked ``nightly`` run where the mark is asked for, by `make nightly` or ``-m``."""
    if config.getoption("-m"):
        return
    tonight = [item for item in items if item.get_closest_marker("nightly")]
    if tonight:
        config.hook.pytest_deselected(items=tonight)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def _processor_seconds() -> float:
    """Of this process and of all that it has started and waited for."""
    return sum(usage.ru_utime + usage.ru_stime
               for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    if not os.environ.get("CPU_TIMES"):
        return (yield)
    began = _processor_seconds()
    try:
        return (yield)
    finally:
        with Path(os.environ["CPU_TIMES"]).open("a") as file:
            file.write(f"{_processor_seconds() - began:.2f} {item.nodeid}\n")
