# SPDX-License-Identifier: Apache-2.0
"""Owners that close, are killed, fall silent or ask for much, devices that fail: the next owner finds a clean one."""

import subprocess
import sys
import time

import numpy as np
import pytest

from host.driver import Session
from host.driver.errors import DeviceBusy, DeviceLost, DeviceNotFound
from host.driver.remote import frames, server
from tests.host.support.devices import Recorded, compiled, picture, works
from tests.host.support.processes import within
from tests.host.support.served import Endless, lives


def test_an_owner_that_closes_in_mid_frame_frees_the_device(serving):
    at = serving(Endless)
    device = at.open()
    session = Session(compiled()[1], device)
    with pytest.raises(DeviceLost, match="was closed"):
        session.frame(picture(), progress=lambda cycles: device.close())
    assert within(5, lambda: at.device.resets == 1)
    with at.open() as new:
        assert Session(compiled()[1], new).regs.idle


CLIENT = """
import sys
from pathlib import Path
import numpy as np
from host.driver import Session, open_device
device = open_device(sys.argv[1])
session = Session(sys.argv[2], device)
session.frame(np.load(sys.argv[3]), progress=lambda cycles: print("runs", flush=True))
"""


def test_an_owner_that_is_killed_in_mid_frame_frees_the_device(serving, tmp_path):
    at = serving(Endless)
    compiled()[1].save(tmp_path / "nano.emoe")
    np.save(tmp_path / "picture.npy", picture())
    with subprocess.Popen([sys.executable, "-c", CLIENT, f"remote:{at.address}", str(tmp_path / "nano.emoe"),
                           str(tmp_path / "picture.npy")], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "runs\n"
        assert not at.device.read32(0) & 4, "no job runs"
        with pytest.raises(DeviceBusy):
            at.open()
        client.kill()
    assert within(5, lambda: at.device.resets == 1)
    with at.open() as new:
        session = Session(compiled()[1], new)
        at.device._start = lambda: Recorded._start(at.device)  # from now on jobs end
        works(session, compiled()[0])


def test_an_owner_that_does_nothing_for_long_loses_the_device(serving):
    at = serving(idle=0.4)
    with at.open() as device:
        device.read32(0x10)
        time.sleep(1.0)
        lives(at)
        with pytest.raises(DeviceLost, match="connection to .* is lost"):
            device.read32(0x10)
        with pytest.raises(DeviceLost, match="connection to .* is lost"):
            device.condition and device.read32(0x10)


def test_a_request_that_takes_long_does_not_look_like_a_dead_server(serving, monkeypatch):
    class Thorough(Recorded):
        def reset(self):
            super().reset()
            if hasattr(self, "opened"):
                time.sleep(1.2)
            self.opened = True
    at = serving(Thorough)
    monkeypatch.setattr(server, "TICK", 0.1)
    monkeypatch.setattr(frames, "SILENCE", 0.6)
    with at.open() as device:
        device.reset()
        works(Session(compiled()[1], device), compiled()[0])


def test_a_server_that_falls_silent_is_given_up(serving, monkeypatch):
    at = serving()
    with at.open() as device:
        monkeypatch.setattr(frames, "SILENCE", 0.3)
        monkeypatch.setattr(server, "TICK", 60)
        monkeypatch.setattr(at.device, "reset", lambda: time.sleep(1.0))
        began = time.monotonic()
        with pytest.raises(DeviceLost, match="nothing came from the server"):
            device.reset()
        assert time.monotonic() - began < 0.9


def test_a_device_that_does_not_come_to_rest_is_opened_anew(serving):
    at = serving()
    with at.open():
        def stuck():
            raise DeviceLost("The bus does not come to rest.")
        at.device.reset = stuck
    lives(at)
    assert len(at.devices) == 2 and at.devices[0].closed
    assert any("opened anew: The bus does not" in text for text in at.said)


def test_a_device_that_fails_in_its_own_way_is_reported_and_the_server_lives(serving):
    at = serving()
    with at.open() as device:
        at.device.write32 = lambda offset, value: [][1]
        with pytest.raises(DeviceLost, match="The device failed: IndexError: list index"):
            device.write32(0x40, 1)
        assert device.read32(0x10)
    lives(serving())


def test_a_server_that_stops_says_so_to_its_owner(serving):
    at = serving()
    with at.open() as device:
        at.stop()
        with pytest.raises(DeviceLost, match="connection to .* is lost"):
            device.read32(0x10)
    assert at.device.closed
    with pytest.raises(DeviceNotFound, match="Nothing answers at .* Does `edge-moe serve"):
        at.open()
