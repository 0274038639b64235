# SPDX-License-Identifier: Apache-2.0
"""A device that is reset while a session uses it: reported in time and in a sentence, whenever it happens."""

import time

import pytest

from golden.device import GoldenDevice
from golden.spec.machine import NANO
from host.driver import Session
from host.driver.errors import DeviceLost
from tests.host.support.devices import NAMES, Recorded, Slow, compiled, exact, picture, works
from tests.host.support.stand_in import loaded
from tests.host.support.stand_in import works as works_on_files

SECONDS = 2
"""For what is found out at the next look; the limits of a job would let it take much longer."""


def test_a_reset_puts_every_register_back():
    board, fresh = Recorded(), GoldenDevice(NANO).read32
    Session(compiled()[1], board).run(picture())
    board.reset()
    assert all(board.read32(offset) == fresh(offset) for offset in NAMES)


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_reset_between_two_frames_is_reported_before_anything_is_started(frames):
    network, image = compiled()
    session = Session(image, board := Recorded())
    for seed in range(frames):
        works(session, network, seed)
    board.reset()
    board.seen.clear()
    for _ in range(2):
        with pytest.raises(DeviceLost, match="was reset, loaded anew or used|was reset or loaded anew.* new Session"):
            session.frame(picture())
    assert not board.writes()
    works(Session(image, board), network)


def test_a_reset_while_loading_is_reported(monkeypatch):
    network, image = compiled()
    names = {name for kind, name, _ in _accesses(lambda board: Session(image, board)) if kind == "write"}
    assert {"TABLE_ADDR", "READ_LO", "GIER"} < names
    for name in sorted(names - {"CTRL", "ISR"}):
        board = Recorded()
        write = board.write32

        def written(offset, value, board=board, write=write, name=name):
            write(offset, value)
            if NAMES[offset] == name:
                monkeypatch.undo()
                board.reset()
        monkeypatch.setattr(board, "write32", written)
        with pytest.raises(DeviceLost, match="register .* as it was set: the device was reset or loaded anew"):
            Session(image, board)
        works(Session(image, board), network)


def _accesses(do):
    board = Recorded()
    do(board)
    return board.seen


class Pulled(Slow):
    """Reset before the ``at``-th access to it; jobs take a while."""

    at = -1

    def _tick(self):
        self.at -= 1
        if self.at == 0:
            super().reset()

    def read32(self, offset):
        self._tick()
        return super().read32(offset)

    def write32(self, offset, value):
        self._tick()
        super().write32(offset, value)


def test_a_reset_before_any_access_of_a_frame_is_reported_or_comes_too_late():
    network, image = compiled()
    session = Session(image, board := Pulled())
    board.seen.clear()
    session.frame(picture())
    accesses = len([entry for entry in board.seen if entry[0] != "wait"])
    lost = 0
    for frames in (0, 1):
        for at in range(1, accesses + 1, 1 + 3 * frames):
            session = Session(image, board)
            for seed in range(frames):
                works(session, network, seed)
            board.at = at
            try:
                result = session.frame(picture())
            except DeviceLost as error:
                assert "reset" in str(error) or "answers for job" in str(error), error
                lost += 1
            else:  # the picture's result had been vouched for
                exact(result, network, picture(), "task0")
            board.at = -1
            with pytest.raises(DeviceLost):
                session.frame(picture())
            works(Session(image, board), network)
    assert lost > accesses // 2 > 20


def test_a_reset_in_the_middle_of_a_frame_ends_the_wait():
    network, image = compiled()
    session = Session(image, board := Slow())
    board.waits, heard = 1000, []

    def wait(limit, progress, wait=board.wait):
        for cycles in range(5):
            progress(cycles)
        board.reset()
        for cycles in range(5, 1000):
            progress(cycles)
        raise AssertionError("It waits for what never comes.")
    board.wait = wait
    with pytest.raises(DeviceLost, match="neither runs the job that was started nor reports its end: it was reset"):
        session.frame(picture(), progress=heard.append)
    assert heard == list(range(5))


# -- through the files of a board

def test_a_board_that_is_reset_before_its_first_frame(board, opened):
    session = loaded(opened)
    board.reset()
    with pytest.raises(DeviceLost, match="register GIER .* holds 0x0, not 0x1 .* Make a new Session"):
        session.run(picture())
    works_on_files(loaded(opened))


def test_a_board_that_is_reset_in_the_middle_of_a_frame(board, opened):
    session = loaded(opened, job_limit=1 << 31)  # two hours of the stand-in's clock
    board.hangs = True

    def pulled(cycles):
        if cycles:
            board.reset()
    began = time.monotonic()
    with pytest.raises(DeviceLost, match="neither runs the job"):
        session.frame(picture(), progress=pulled)
    assert time.monotonic() - began < SECONDS
    board.hangs = False
    with pytest.raises(DeviceLost):
        session.run(picture())
    works_on_files(loaded(opened))
