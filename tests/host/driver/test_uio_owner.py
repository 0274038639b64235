# SPDX-License-Identifier: Apache-2.0
"""One owner at a time, crashed owners, and boards on which something is missing or says something impossible."""

import os
import subprocess
import sys

import pytest

from golden.spec.regs import BY_NAME, MAP_BYTES, Ctrl
from host.driver import open_device, uio
from host.driver.errors import (
    DeviceBusy,
    DeviceLost,
    DeviceNotFound,
)
from host.driver.uio import UioDevice
from tests.host.support.devices import picture
from tests.host.support.stand_in import Board, StandIn, lay_out, loaded, running, works

SYSFS = "sys/class/u-dma-buf/udmabuf0"

# -- one owner

def test_a_second_opening_is_refused_and_breaks_nothing(board, opened):
    for _ in range(2):  # the first refusal may not have taken the lock away
        with pytest.raises(DeviceBusy, match=f"uio0 belongs to process {os.getpid()}. Wait for it or stop it"):
            StandIn(board, **board.files)
    works(loaded(opened))
    opened.close()
    again = StandIn(board, **board.files)
    works(loaded(again))
    again.close()


OWNER = """
import sys, time
from host.driver.uio import UioDevice
device = UioDevice(dev=sys.argv[1], sysfs=sys.argv[2])
device.write32(0, 1)
print("running", flush=True)
time.sleep(60)
"""


def test_locks_of_other_files_name_no_owner(opened, tmp_path):
    with open(tmp_path / "dev/udmabuf0") as other:
        assert uio._locked_by(other.fileno()) is None
    assert uio._locked_by(opened._fd) == os.getpid()


def test_a_killed_owner_leaves_a_device_that_works(board):
    board.hangs = True
    owner = subprocess.Popen([sys.executable, "-c", OWNER, board.files["dev"], board.files["sysfs"]],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == "running\n"
        running(board)
        with pytest.raises(DeviceBusy, match=f"belongs to process {owner.pid}"):
            StandIn(board, **board.files)
        assert board.aborts == 0, "an owner's job was aborted by somebody else"
    finally:
        owner.kill()
        owner.wait(10)
        owner.stdout.close()
    assert board.jobs == 1 and not board.words[0] & Ctrl.IDLE
    device = StandIn(board, **board.files)
    assert board.aborts == 1
    board.hangs = False
    works(loaded(device))
    device.close()


def test_a_job_that_cannot_be_stopped_is_reported(tmp_path):
    files = lay_out(tmp_path)
    board = Board(tmp_path)  # not running: ABORT has no effect
    board.words[0] = 0
    board.words[BY_NAME["BUS_LIMIT"].offset // 4] = 1000
    with pytest.raises(DeviceLost, match="runs a job that does not stop: load the bitstream"):
        StandIn(board, **files)
    with pytest.raises(DeviceLost):  # and not DeviceBusy: the lock was given back
        StandIn(board, **files)


def test_closing_stops_what_runs(board, opened):
    session = loaded(opened)
    board.hangs = True
    session.start(bytes(session.image.input["bytes"]))
    running(board)
    opened.close()
    assert board.aborts == 1 and board.words[0] & Ctrl.IDLE


def test_a_closed_device_says_so(opened):
    session = loaded(opened)
    opened.close()
    opened.close()
    for use in (lambda: session.run(picture()), lambda: opened.read32(0), lambda: opened.write32(0, 1),
                lambda: opened.allocate(1), session._main.sync_for_device):
        with pytest.raises(DeviceLost, match="The device uio:uio0 was closed"):
            use()


def test_a_forked_child_may_not_use_its_parents_device(board, opened, monkeypatch):
    parent = os.getpid()
    session = loaded(opened)
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(DeviceBusy, match=f"belongs to process {parent}, which forked this one"):
        session.run(picture())
    monkeypatch.undo()
    works(session)


# -- what may be missing

@pytest.mark.parametrize("file, error, sentence", [
    ("dev/uio0", DeviceNotFound, "There is no .*dev/uio0. Is the device-tree overlay loaded"),
    ("dev/udmabuf0", DeviceNotFound, "There is no .*dev/udmabuf0. Is the u-dma-buf module loaded with a size"),
    ("sys/class/uio/uio0/maps/map0/size", DeviceNotFound, "map0/size does not tell a number: .*No such file"),
    (f"{SYSFS}/phys_addr", DeviceNotFound, "phys_addr does not tell a number: .*No such file"),
    (f"{SYSFS}/size", DeviceNotFound, "udmabuf0/size does not tell a number: .*No such file"),
])
def test_a_missing_file_is_named(tmp_path, file, error, sentence):
    files = lay_out(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(error, match=sentence):
        UioDevice(**files)


@pytest.mark.parametrize("file, text, error, sentence", [
    ("sys/class/uio/uio0/maps/map0/size", "0x100", DeviceLost, "maps 256 bytes of registers; the accelerator has 512"),
    ("sys/class/uio/uio0/maps/map0/size", "0x10000", DeviceLost, "65536 bytes of uio0 cannot be mapped"),
    (f"{SYSFS}/phys_addr", "", DeviceNotFound, "phys_addr does not tell a number"),
    (f"{SYSFS}/phys_addr", "hidden", DeviceNotFound, "phys_addr does not tell a number"),
    (f"{SYSFS}/phys_addr", "0x0", DeviceNotFound, "phys_addr must tell a positive number, not 0"),
    (f"{SYSFS}/size", "0", DeviceNotFound, "udmabuf0/size must tell a positive number, not 0"),
    (f"{SYSFS}/size", "99999999", DeviceLost, "99999999 bytes of udmabuf0 cannot be mapped"),
    ("dev/uio0", "\0" * MAP_BYTES, DeviceLost, "answers with ID 0x00000000, .* is the bitstream loaded"),
])
def test_a_file_that_says_something_impossible_is_refused(tmp_path, file, text, error, sentence):
    files = lay_out(tmp_path)
    (tmp_path / file).write_text(text)
    before = (tmp_path / "dev/uio0").read_bytes()
    with pytest.raises(error, match=sentence):
        UioDevice(**files)
    assert (tmp_path / "dev/uio0").read_bytes() == before


def test_an_open_that_fails_leaves_nothing_open(tmp_path):
    files = lay_out(tmp_path)
    (tmp_path / f"{SYSFS}/phys_addr").unlink()
    count = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(DeviceNotFound, match="phys_addr"):  # never DeviceBusy
            UioDevice(**files)
    assert len(os.listdir("/proc/self/fd")) == count


def test_missing_permission_is_named(tmp_path, monkeypatch):
    files, real = lay_out(tmp_path), os.open

    def refused(path, *rest, **options):
        if str(path).endswith("udmabuf0"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(DeviceNotFound, match="udmabuf0 may not be opened. Run as root, or give this user access"):
        UioDevice(**files)


def test_a_directory_is_no_device(tmp_path):
    files = lay_out(tmp_path)
    (tmp_path / "dev/uio0").unlink()
    (tmp_path / "dev/uio0").mkdir()
    with pytest.raises(DeviceNotFound, match="uio0 cannot be opened: Is a directory"):
        UioDevice(**files)
    with pytest.raises(DeviceNotFound, match="No UIO node is called 'uio77'; there are"):
        open_device("uio", uio="uio77")
