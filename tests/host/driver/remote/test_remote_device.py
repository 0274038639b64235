# SPDX-License-Identifier: Apache-2.0
"""A session on a remote device does what one on the same device here does: results, errors, limits, abort, reset."""

import os

import numpy as np
import pytest

from golden.spec.status import Status
from host.cli import main
from host.diagnosis.selftest import CHECKS, selftest
from host.driver import Device, Session
from host.driver.errors import Aborted, AccelError, DeviceBusy, DeviceLost, DeviceTimeout, InputError, OutOfMemory
from host.driver.remote import client
from host.driver.remote.frames import Kind
from host.driver.result import same
from tests.host.support.devices import Failing, Recorded, Slow, Small, compiled, picture, works
from tests.host.support.served import Endless


def counted(device):
    """Every exchange from now on: (kind, bytes of the payload)."""
    seen, exchange = [], device._exchange

    def exchanged(kind, payload):
        seen.append((kind, len(payload)))
        return exchange(kind, payload)
    device._exchange = exchanged
    return seen


def test_every_program_gives_the_same_results_here_and_there(serving):
    image, at = compiled()[1], serving()
    with at.open() as device:
        assert isinstance(device, Device) and device.clock_hz == 300e6
        assert device.name == f"golden:nano at {at.address}"
        here, there = Session(image, Recorded()), Session(image, device)
        for task in image.programs:
            for seed in (1, 2):
                one, other = (session.frame(picture(seed=seed), task) for session in (here, there))
                assert same(one, other) and one.counters == other.counters and one.run_id == other.run_id


def test_the_device_sees_the_same_accesses(serving):
    """Jobs are started and ended on the server's device as on one here: same registers, same values, same order."""
    at, here = serving(), Recorded()
    with at.open() as device:
        seen = []
        for board, session in ((here, Session(compiled()[1], here)), (at.device, Session(compiled()[1], device))):
            board.seen.clear()
            session.frame(picture())
            seen.append([each[:2] if each[0] == "wait" else each for each in board.seen])
        assert seen[0] == seen[1]


@pytest.mark.parametrize("status", [Status.INTERNAL, Status.R_DECERR, Status.JOB_TIMEOUT, Status.BAD_FIELD])
def test_a_failed_job_raises_the_same_error(serving, status):
    def failing():
        device = Failing()
        device.status = status
        return device
    caught = []
    with serving(failing).open() as device:
        for each in (failing(), device):
            with pytest.raises(AccelError) as error:
                Session(compiled()[1], each).frame(picture())
            caught.append(error.value)
    one, other = caught
    assert type(one) is type(other) and str(one) == str(other)
    assert vars(one) == vars(other) and other.status is status


def test_a_job_that_does_not_end_is_timed_out_and_the_next_is_exact(serving):
    at = serving(Slow)
    with at.open() as device:
        session = Session(compiled()[1], device, job_limit=300_000)
        at.device.waits = 1
        with pytest.raises(DeviceTimeout, match=r"golden:nano at 127.*was given 300000 cycles \[clock 300 MHz\]"):
            session.frame(picture())
        works(session, compiled()[0])


def test_a_long_wait_reports_its_progress_and_ends_at_its_limit(serving):
    heard = []
    with serving(Endless).open() as device:
        assert device.wait(200_000, heard.append) is False  # two thirds of a second, three slices
    assert len(heard) >= 2 and heard == sorted(heard) and 0 < heard[-1] <= 200_000


def test_an_abort_out_of_the_progress_ends_the_job(serving):
    with serving(Endless).open() as device:
        session = Session(compiled()[1], device)
        for _ in range(2):
            with pytest.raises(Aborted):
                session.frame(picture(), progress=lambda cycles: session.abort())
        assert session.regs.idle


def test_what_interrupts_a_frame_is_raised_again_and_stops_the_job(serving):
    at = serving(Endless)
    with at.open() as device:
        session = Session(compiled()[1], device)

        def stop(cycles):
            raise KeyboardInterrupt
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                session.frame(picture(), progress=stop)
            assert session.regs.idle and at.device.read32(0) & 4


def test_a_reset_loads_the_program_again(serving):
    with serving().open() as device:
        session = Session(compiled()[1], device)
        works(session, compiled()[0])
        session.reset()
        works(session, compiled()[0])


def test_a_reset_at_the_board_is_reported(serving):
    at = serving()
    with at.open() as device:
        session = Session(compiled()[1], device)
        at.device.reset()
        with pytest.raises(DeviceLost, match=f"{at.address}' counts|new Session"):
            session.frame(picture())
        works(Session(compiled()[1], device), compiled()[0])


def test_too_little_memory_there_is_reported_with_what_the_program_needs(serving):
    with serving(lambda: Small(65536)).open() as device:
        with pytest.raises(OutOfMemory, match=r"needs \d+ bytes of device memory. \d+ bytes do not fit: \d+ are free"):
            Session(compiled()[1], device)


def test_only_changed_pages_are_sent(serving):
    with serving().open() as device:
        session, seen = Session(compiled()[1], device), counted(device)
        session.frame(picture())
        seen.clear()
        session.frame(picture(seed=2))
        sent = sum(size for kind, size in seen if kind is Kind.PUT)
        whole = len(session._main.view)
        assert 0 < sent <= session.image.input_bytes("task0") + 3 * 4096 < whole
        seen.clear()
        session.frame(picture(seed=2))
        assert not [kind for kind, _ in seen if kind is Kind.PUT]
        assert len(seen) <= 20, "each exchange costs the way there and back"


def test_buffers_keep_every_byte_whatever_their_size(serving, monkeypatch):
    monkeypatch.setattr(client, "MOST_DATA", 5000)  # several frames for each transfer
    at = serving()
    with at.open() as device:
        for size in (1, 4095, 4096, 4097, 20_001):
            buffer, random = device.allocate(size), np.random.default_rng(size)
            mine = at.device._dram.view(buffer.address, size)
            for _ in range(3):
                places = random.integers(0, size, 3)
                buffer.view[places] = random.integers(0, 256, 3)
                wanted = buffer.view.copy()
                buffer.sync_for_device()
                np.testing.assert_array_equal(mine, wanted)
                mine[random.integers(0, size, 3)] = random.integers(0, 256, 3)
                buffer.sync_for_cpu()
                np.testing.assert_array_equal(buffer.view, mine)


def test_what_the_device_wrote_survives_a_sync_of_other_pages(serving):
    """As with caches that write back changed lines only: what this side did not change is not sent."""
    at = serving()
    with at.open() as device:
        buffer = device.allocate(8192)
        buffer.view[:] = 1
        buffer.sync_for_device()
        at.device._dram.view(buffer.address, 8192)[:4096] = 7
        buffer.view[4096:] = 2
        buffer.sync_for_device()
        buffer.sync_for_cpu()
        assert set(buffer.view[:4096]) == {7} and set(buffer.view[4096:]) == {2}


def test_the_self_test_passes(serving):
    with serving().open() as device:
        checks = selftest(device)
    assert len(checks) == CHECKS and all(check.ok for check in checks), checks


def test_dumps_from_here_and_there_are_the_same(serving, tmp_path, capsys):
    at = serving()
    compiled()[1].save(tmp_path / "nano.emoe")
    shape = picture().shape[:2]
    from PIL import Image as Pictures
    Pictures.fromarray(np.full((*shape, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    for name, device in (("a", "golden"), ("b", f"remote:{at.address}")):
        with pytest.raises(SystemExit) as ended:
            main(["run", str(tmp_path / "nano.emoe"), str(tmp_path / "grey.png"), "--device", device, "--dump",
                  str(tmp_path / name)])
        assert ended.value.code == 0, capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert ended.value.code == 0 and "same: all" in capsys.readouterr().out


# -- as an object

def test_a_closed_device_is_refused_and_the_next_owner_gets_it(serving):
    at = serving()
    with at.open() as device:
        session = Session(compiled()[1], device)
    for _ in range(2):
        with pytest.raises(DeviceLost, match="was closed"):
            session.frame(picture())
        device.close()
    with at.open() as device:
        works(Session(compiled()[1], device), compiled()[0])


def test_a_forked_child_may_not_use_it_and_does_not_end_it(serving):
    with serving().open() as device:
        session = Session(compiled()[1], device)
        if (child := os.fork()) == 0:
            try:
                device.read32(0x10)
            except DeviceBusy:
                device.close()
                os._exit(7)
            finally:
                os._exit(8)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        works(session, compiled()[0])


@pytest.mark.parametrize("name", ["", "host:", "host:port", "host:0", "host:65536", ":7"])
def test_an_address_that_is_none_is_refused(name):
    with pytest.raises(InputError, match="named remote:HOST:PORT"):
        client._address(name)


def test_addresses():
    assert client._address("kria") == ("kria", client.PORT)
    assert client._address("kria:80") == ("kria", 80)
    assert client._address("[::1]:80") == ("::1", 80) and client._address("[::1]") == ("::1", client.PORT)
