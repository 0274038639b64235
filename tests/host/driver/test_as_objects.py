# SPDX-License-Identifier: Apache-2.0
"""Devices and sessions as Python users expect them: repr, with, close, abort, reset; wrong arguments in sentences."""

import threading

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.spec.model import ConfigError
from golden.spec.status import Status
from host.driver import Session, open_device
from host.driver.errors import Aborted, DeviceBusy, DeviceLost, InputError
from tests.host.support.devices import Failing, Recorded, Slow, compiled, picture, works


def test_with_closes_a_device_and_nothing_runs_afterwards():
    network, image = compiled()
    with open_device("golden", machine=image.machine) as device:
        session = Session(image, device)
        works(session, network)
    with pytest.raises(DeviceLost, match="'golden:nano' was closed: open it again and make a new Session"):
        session.frame(picture())
    with pytest.raises(DeviceLost, match="'golden:nano' was closed"):
        Session(image, device)
    for ask in (lambda: device.read32(0x10), lambda: device.write32(0, 1), lambda: device.allocate(64)):
        with pytest.raises(ConfigError, match="The device golden:nano was closed"):
            ask()
    device.close()


def test_devices_and_sessions_show_what_they_are():
    image = compiled()[1]
    device = GoldenDevice("nano")
    assert repr(device) == "<GoldenDevice golden:nano>"
    assert repr(Session(image, device)) == "<Session of 'nano' on golden:nano: task0, task1, task0+task1>"


def test_a_board_is_closed_by_with_and_shows_its_name(opened):
    assert repr(opened) == f"<StandIn {opened.name}>"
    with opened as device:
        assert device is opened
    with pytest.raises(DeviceLost, match="was closed"):
        opened.read32(0)


@pytest.mark.parametrize("arguments, sentence", [
    (lambda: ("nano.emoe", "golden"), r"needs a device, such as open_device\('golden'\) gives, not 'golden'\."),
    (lambda: ("nano.emoe", None), "needs a device, .* not None"),
    (lambda: (17, Recorded()), "needs a program image or the path of one, not a int"),
    (lambda: (compiled()[0], Recorded()), "needs a program image or the path of one, not a IntModel"),
])
def test_what_is_no_image_or_device_is_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Session(*arguments())


@pytest.mark.parametrize("limits", [{"job_limit": 1e6}, {"bus_limit": "1000"}, {"job_limit": None}])
def test_limits_are_whole_numbers(limits):
    with pytest.raises(InputError, match=r"_limit must lie in 1..4294967295 cycles and be a whole number, not "):
        Session(compiled()[1], Recorded(), **limits)
    Session(compiled()[1], board := Recorded(), job_limit=np.int64(12345))
    assert board._get("JOB_LIMIT") == 12345


def test_abort_ends_a_frame_and_the_next_one_is_exact():
    class Stoppable(Slow):
        """Lets progress be heard once before it looks for the end."""

        def wait(self, limit, progress):
            progress(1)
            return Recorded.wait(self, limit, progress) or super().wait(limit, progress)

    network, image = compiled()
    session = Session(image, Stoppable())
    with pytest.raises(Aborted, match="Job 1 ended with ABORTED"):
        session.frame(picture(), progress=lambda cycles: session.abort())
    works(session, network)


def test_abort_from_another_thread():
    class Patient(Slow):
        """Waits for the other thread, as a board does."""

        def wait(self, limit, progress):
            started.set()
            assert stopped.wait(20)
            return super().wait(limit, progress)

    started, stopped, (network, image) = threading.Event(), threading.Event(), compiled()
    session, ended = Session(image, Patient()), []

    def work():
        try:
            session.frame(picture())
        except Aborted as error:
            ended.append(error.status)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(20)
    session.abort()
    stopped.set()
    thread.join(20)
    assert ended == [Status.ABORTED]
    works(session, network)


def test_abort_of_a_job_that_nobody_waits_for():
    network, image = compiled()
    session = Session(image, Slow())
    session.abort()  # nothing runs
    session.start(bytes(image.input["bytes"]))
    session.abort()
    works(session, network)
    session.device.deaf = True
    session.start(bytes(image.input["bytes"]))
    session.device.waits = 1 << 10
    with pytest.raises(DeviceBusy, match=r"cannot be aborted: reset it \(device.reset, Session.reset\)"):
        session.abort()
    session.reset()
    session.device.waits, session.device.deaf = 0, False
    works(session, network)


def test_reset_makes_a_device_usable_whose_bus_did_not_drain():
    network, image = compiled()
    board = Failing()
    session = Session(image, board)
    board.status, board.drained = Status.DRAIN_TIMEOUT, False
    with pytest.raises(Exception, match=r"reset the device before the next job \(Session.reset\)"):
        session.frame(picture())
    board.status = None
    with pytest.raises(DeviceLost, match=r"has not drained after an error: reset it \(Session.reset\)"):
        session.frame(picture())
    session.reset()
    works(session, network)


def test_a_board_is_reset_as_far_as_software_can(board, opened):
    opened.reset()
