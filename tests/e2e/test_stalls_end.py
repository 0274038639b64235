# SPDX-License-Identifier: Apache-2.0
"""``make stalls`` ends within two seconds of Ctrl-C and SIGTERM, with the simulators that its workers run."""

import signal
from pathlib import Path

import pytest

from golden.spec.machine import NANO
from sim.board.build import build_board
from tests.host.support.processes import ends_with_its_workers

pytestmark = pytest.mark.rtl


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_stalls(number):
    build_board(NANO)
    ends_with_its_workers(["-m", "sim.stalls", "--seeds", "500", "--workers", "2"], number, patience=300)
