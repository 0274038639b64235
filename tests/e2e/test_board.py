# SPDX-License-Identifier: Apache-2.0
"""Simulated board: ownership of memory, several boards in one process, a reset in the middle, named failures."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from golden.spec.regs import BY_NAME
from golden.spec.regs import ID as PRODUCT
from host.compiler.compile import compile_model
from host.driver.errors import Aborted, BusError, DeviceLost, DeviceNotFound
from host.driver.layout import prepare_input
from host.driver.result import same
from host.driver.session import Session
from sim.board import Board, BoardError
from sim.board.build import BuildError, build_board
from sim.board.settings import DRAM_BASE, DramSettings
from sim.device import SimDevice

pytestmark = pytest.mark.rtl
BYTES = 1 << 20
ID = BY_NAME["ID"].offset
LIMIT = 60
"""Time limit in seconds of a run that takes one: a board that waits for a freed object hangs."""


def fresh(code: str) -> subprocess.CompletedProcess:
    """Run ``code`` in a separate process, where it may crash or hang."""
    library = build_board(NANO)  # here, so that the limit holds for the code alone
    begin = (f"from pathlib import Path\nimport sim.board\nsim.board.build_board = lambda *_: Path({str(library)!r})\n"
             "from golden.spec.machine import NANO\n"
             f"def board():\n    return sim.board.Board(NANO, dram_bytes={BYTES})\n")
    return subprocess.run([sys.executable, "-c", begin + code + "\nprint('alive')"], capture_output=True, text=True,
                          timeout=LIMIT)


@pytest.mark.parametrize("code", [
    "a, b = board(), board()\nb.close(); a.run(50); a.close()",
    "a, b = board(), board()\na.close(); b.run(50); b.close()",
    "a = board(); a.close(); b = board(); b.run(50); b.close(); a.close(); b.close()",
    "import threading\na = board()\na.close()\nheld = []\n"
    "thread = threading.Thread(target=lambda: held.append(board()))\nthread.start(); thread.join()\n"
    "held[0].run(50); held[0].close()",
    "a = board(); a.run(50)",  # the interpreter ends with a board open
    "a = board(); view = a.dram[5:10]; a.close(); view[:] = 3",
], ids=["last first", "first first", "twice", "another thread", "never closed", "view of the DRAM"])
def test_boards_close_in_any_order(code):
    done = fresh(code)
    assert done.returncode == 0 and done.stdout == "alive\n", done.stderr


def test_a_forked_child_may_close_its_copy():
    """A library with its own threads would wait for them forever."""
    board = Board(NANO, dram_bytes=BYTES)
    child = os.fork()
    if not child:
        board.run(10)
        board.close()
        os._exit(0)
    until = time.monotonic() + LIMIT
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    if done == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done == (child, 0)
    board.close()


def test_a_board_needs_no_threads():
    before = threading.active_count(), len(os.listdir("/proc/self/task"))
    with Board(NANO, dram_bytes=BYTES):
        assert (threading.active_count(), len(os.listdir("/proc/self/task"))) == before


def test_arrays_outlive_the_board():
    board = Board(NANO, dram_bytes=BYTES)
    dram, rows = board.dram, board.memory("residual", "half0")
    before = rows.copy()
    board.close()
    dram[:] = 7
    assert (dram == 7).all() and np.array_equal(rows, before)


def test_a_closed_board_says_so():
    board = Board(NANO, dram_bytes=BYTES)
    board.close()
    board.close()
    for use in (lambda: board.read32(ID), lambda: board.write32(ID, 0), lambda: board.run(1), lambda: board.cycle,
                lambda: board.reset(), lambda: board.memory("residual", "half0"), lambda: board.inject([])):
        with pytest.raises(BoardError, match="was closed"):
            use()


@pytest.mark.parametrize("size", [64, 4096 + 16, BYTES - 16])
def test_nothing_beyond_the_dram_is_touched(size):
    """Reading BEGIN at the very end answers DECERR instead of what lies after the array; or finds zeros there."""
    with Board(NANO, DramSettings(latency=1), dram_bytes=size) as board:
        assert board.dram.size == size
        for name, value in (("READ_LO", 0), ("READ_HI", 1 << 63), ("WRITE_LO", 0), ("WRITE_HI", 1 << 63),
                            ("WEIGHT_LO", 0), ("WEIGHT_HI", 1 << 63),
                            ("PROGRAM_ADDR", (DRAM_BASE + size) // 64 * 64), ("BUS_LIMIT", 1000)):
            offset = BY_NAME[name].offset
            board.write32(offset, value & 0xFFFF_FFFF)
            if BY_NAME[name].wide:
                board.write32(offset + 4, value >> 32)
        board.write32(BY_NAME["CTRL"].offset, 1)
        board.run(2000, stop_at_interrupt=False)
        status = board.read32(BY_NAME["STATUS"].offset)[0] & 0xFF
        assert status == (0x31 if size % 64 < 32 else 0x12), hex(status)


# -- reset

def test_a_reset_at_any_time_leaves_nothing_behind(device, picture):
    """The slaves forget half-done bursts, writes too; the next job is exact."""
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    device.board.configure(DramSettings(latency=20))
    device.board.inject([])
    session = Session(image, device)
    began = device.board.cycle
    wanted = session.frame(picture).residuals
    cycles = device.board.cycle - began
    for after in [*range(50, cycles, cycles // 12), *range(cycles - 400, cycles - 20, 23)]:
        session = Session(image, device)
        session.start(prepare_input(picture, image.input))
        device.board.run(after, stop_at_interrupt=False)
        device.board.reset()
        got = Session(image, device).frame(picture).residuals
        assert all(np.array_equal(got[task], wanted[task]) for task in wanted), after


# -- the driver's errors

def test_a_board_that_does_not_answer_is_a_bus_error(device, monkeypatch):
    monkeypatch.setattr(device.board, "_lib", Deaf(device.board._lib))
    for use in (lambda: device.read32(ID), lambda: device.write32(ID, 0)):
        with pytest.raises(BusError, match="did not answer a (read|write) (of|to) 0x010 within 1000 cycles"):
            use()
    monkeypatch.undo()
    assert device.read32(ID) == PRODUCT


class Deaf:
    """A library whose register slave never answers."""

    def __init__(self, library):
        self._library = library

    def board_read32(self, *_):
        return -1

    def board_write32(self, *_):
        return -1

    def __getattr__(self, name):
        return getattr(self._library, name)


def test_a_closed_device_is_lost(picture):
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    device = SimDevice(NANO, dram_bytes=8 << 20)
    session = Session(image, device)
    device.close()
    device.close()
    for use in (lambda: session.frame(picture), lambda: Session(image, device), lambda: device.allocate(64),
                lambda: device.wait(10, print)):
        with pytest.raises(DeviceLost, match="The device sim:nano was closed"):
            use()


def test_with_abort_and_reset_on_the_simulated_board(picture, monkeypatch):
    monkeypatch.setattr("sim.device.CHUNK", 500)  # so that progress is heard before the frame is done
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    with SimDevice(NANO, dram_bytes=8 << 20) as device:
        assert repr(device) == "<SimDevice sim:nano>"
        session = Session(image, device)
        wanted = session.frame(picture)
        with pytest.raises(Aborted):
            session.frame(picture, progress=lambda cycles: session.abort())
        assert same(session.frame(picture), wanted)
        device.reset()
        with pytest.raises(DeviceLost, match="Make a new Session"):
            session.frame(picture)
        session.reset()
        assert same(session.frame(picture), wanted)
    with pytest.raises(DeviceLost, match="was closed"):
        device.reset()


def test_an_unknown_machine_is_not_found(monkeypatch):
    with pytest.raises(DeviceNotFound, match="There is no machine 'giant'; there are nano, "):
        SimDevice("giant")

    def fail(*_):
        raise BuildError("g++ failed")

    monkeypatch.setattr("sim.board.build_board", fail)
    with pytest.raises(DeviceNotFound, match=r"g\+\+ failed"):
        SimDevice(NANO)
