# SPDX-License-Identifier: Apache-2.0
"""Every way in which a job can fail has its exception; nothing hangs; no answer is taken for another's."""

import threading
import time

import pytest

from golden.spec.regs import Cause, Ctrl
from golden.spec.status import MEANING, Status
from host.driver import Session
from host.driver.errors import (
    KIND,
    Aborted,
    AccelError,
    BusError,
    DeviceBusy,
    DeviceLost,
    DeviceTimeout,
    IntegrityError,
    ProgramRefused,
    VersionMismatch,
)
from host.driver.registers import rest
from tests.host.support.devices import Failing, Recorded, Slow, compiled, exact, picture, works

# -- how jobs end

CLASSES = {
    "BAD_VERSION": VersionMismatch, "BAD_CONFIG": VersionMismatch, "BAD_OPCODE": ProgramRefused,
    "BAD_FIELD": ProgramRefused, "MISALIGNED": ProgramRefused, "RANGE_READ": ProgramRefused,
    "RANGE_WRITE": ProgramRefused, "RANGE_LOCAL": ProgramRefused, "RANGE_UNSET": ProgramRefused,
    "NO_END": ProgramRefused, "R_SLVERR": BusError, "R_DECERR": BusError, "B_SLVERR": BusError, "B_DECERR": BusError,
    "BAD_RESPONSE": BusError, "EXOKAY": BusError, "BUS_TIMEOUT": BusError, "JOB_TIMEOUT": DeviceTimeout,
    "ABORTED": Aborted, "DRAIN_TIMEOUT": BusError, "INTERNAL": IntegrityError,
}


def test_every_status_has_its_exception():
    assert set(CLASSES) == {status.name for status in Status} - {"OK"} and set(KIND) == set(Status) - {Status.OK}
    assert all(issubclass(kind, AccelError) for kind in KIND.values())


@pytest.mark.parametrize("name", CLASSES)
def test_a_failed_job_raises_its_exception_and_the_next_one_is_exact(name):
    network, image = compiled()
    board = Failing()
    session = Session(image, board)
    works(session, network)
    board.status = Status[name]
    with pytest.raises(CLASSES[name]) as caught:
        session.frame(picture())
    error = caught.value
    assert type(error) is CLASSES[name]
    assert (error.status, error.address, error.index, error.run_id) == (Status[name], 0x1_2345_6780, 3, 2)
    symbol = image.symbols["task0"][3].name
    assert f"Job 2 ended with {name}: {MEANING[Status[name]]}; instruction 3 ({symbol}), address 0x123456780" \
        in str(error)
    assert ("clock 300 MHz" in str(error)) == (name == "JOB_TIMEOUT") and "drain:" not in str(error)
    board.status = None
    works(session, network)


def test_a_bus_that_did_not_drain_is_not_started_again():
    board = Failing()
    session = Session(compiled()[1], board)
    board.status, board.drained = Status.DRAIN_TIMEOUT, False
    with pytest.raises(BusError, match="The bus did not drain: reset the device before the next job"):
        session.frame(picture())
    starts = len(board.writes("CTRL"))
    with pytest.raises(DeviceLost, match="has not drained after an error: reset it"):
        session.frame(picture())
    assert len(board.writes("CTRL")) == starts


def test_an_unknown_status_is_a_lost_device():
    session = Session(compiled()[1], board := Failing())
    board.status = 0x77
    with pytest.raises(DeviceLost, match="reports the status 0x77, which no machine of this ABI knows"):
        session.frame(picture())


def test_an_instruction_beyond_the_program_has_no_name():
    session = Session(compiled()[1], board := Failing())
    board.status, board.index = Status.R_DECERR, 4000
    with pytest.raises(BusError, match="instruction 4000, address"):
        session.frame(picture())


def test_a_job_that_never_ends_is_aborted_and_the_next_is_exact():
    network, image = compiled()
    session = Session(image, board := Slow(), job_limit=1000, bus_limit=50)
    board.waits, heard = 1, []
    board.seen.clear()
    with pytest.raises(DeviceTimeout, match=r"neither finished nor reported an error.* 1000 cycles .clock 300 MHz") \
            as caught:
        session.frame(picture(), progress=heard.append)
    assert caught.value.status is Status.JOB_TIMEOUT and caught.value.run_id == 1
    assert [value for kind, _, value in board.seen if kind == "wait"] == [1000 + rest(50), rest(50)]
    assert heard == [(1000 + rest(50)) // 2]
    assert board.writes("CTRL") == [("write", "CTRL", Ctrl.START), ("write", "CTRL", Ctrl.ABORT)]
    works(session, network)


def test_a_machine_that_cannot_be_stopped_is_left_alone():
    session = Session(compiled()[1], board := Slow())
    board.waits, board.deaf = 1000, True
    with pytest.raises(DeviceTimeout):
        session.frame(picture())
    board.seen.clear()
    with pytest.raises(DeviceBusy, match="still runs job 1"):
        session.frame(picture())
    assert not board.writes()
    with pytest.raises(DeviceBusy, match="runs a job that cannot be aborted: reset it"):
        Session(compiled()[1], board)
    assert not [entry for entry in board.writes() if "ADDR" in entry[1]]


def test_a_time_out_reports_the_temperature_where_it_is_known():
    session = Session(compiled()[1], board := Failing())
    board.status, board.condition = Status.JOB_TIMEOUT, "clock 300 MHz, 97 degrees C"
    with pytest.raises(DeviceTimeout, match="97 degrees C"):
        session.frame(picture())


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError("from a progress callback"), SystemExit(3)])
def test_whatever_interrupts_the_wait_aborts_drains_and_passes_on(stop):
    network, image = compiled()
    session = Session(image, board := Slow())
    board.interrupted = stop
    board.seen.clear()
    with pytest.raises(type(stop)) as caught:
        session.frame(picture())
    assert caught.value is stop
    kinds = [entry[:2] if entry[1] != "CTRL" else (*entry[:2], entry[2]) for entry in board.seen
             if entry[0] == "wait" or entry[:2] == ("write", "CTRL")]
    assert kinds == [("write", "CTRL", Ctrl.START), ("wait", ""), ("write", "CTRL", Ctrl.ABORT), ("wait", "")]
    works(session, network)


@pytest.mark.parametrize("before", [True, False])
def test_an_interruption_around_the_start_leaves_the_session_usable(before, monkeypatch):
    network, image = compiled()
    session = Session(image, board := Slow())

    def interrupted(offset, value, through=board.write32):
        if offset == 0 and value & Ctrl.START:
            monkeypatch.undo()
            if not before:
                through(offset, value)
            raise KeyboardInterrupt
        through(offset, value)
    monkeypatch.setattr(board, "write32", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.frame(picture())
    works(session, network)


def test_a_bus_error_on_the_way_out_does_not_hide_what_went_wrong(monkeypatch):
    session = Session(compiled()[1], board := Slow())
    board.interrupted = KeyboardInterrupt()

    def dead(offset):
        raise BusError("nobody answers")
    wait = board.wait
    monkeypatch.setattr(board, "wait", lambda *a: (monkeypatch.setattr(board, "read32", dead), wait(*a)))
    with pytest.raises(KeyboardInterrupt):
        session.frame(picture())


# -- interrupts

def test_a_stale_interrupt_does_not_end_the_next_job():
    network, image = compiled()
    session = Session(image, board := Slow())
    works(session, network)
    board._set("ISR", Cause.DONE | Cause.READY | Cause.ERROR)
    works(session, network, seed=11)


def test_acknowledging_clears_what_was_seen_and_keeps_what_comes_up():
    session = Session(compiled()[1], board := Recorded())
    board._set("ISR", Cause.DONE)
    board.seen.clear()
    session.regs.acknowledge()
    assert board.seen == [("read", "ISR", 1), ("write", "ISR", 1)] and board._get("ISR") == 0
    session.regs.acknowledge()
    assert board._get("ISR") == 0, "an acknowledgement of nothing set a cause"
    board._set("ISR", Cause.DONE)
    write = board.write32
    board.write32 = lambda offset, value: (board._set("ISR", board._get("ISR") | Cause.ERROR), write(offset, value))
    session.regs.acknowledge()
    assert board._get("ISR") == Cause.ERROR


def test_the_driver_listens_to_the_end_of_jobs_only():
    Session(compiled()[1], board := Recorded())
    assert board._get("IER") == Cause.DONE | Cause.ERROR and board._get("GIER") == 1
    order = [name for _, name, _ in board.writes()]
    assert order.index("IER") > order.index("WEIGHT_HI") and "CTRL" not in order


# -- somebody else

def test_jobs_of_somebody_else_are_noticed():
    session = Session(compiled()[1], board := Recorded())
    session.run(picture())
    board._set("RUN_ID", 5)
    with pytest.raises(DeviceLost, match="counts 5 jobs, not 1: it was reset"):
        session.run(picture())
    again = Session(compiled()[1], board)
    assert again.frame(picture()).run_id == 6


def test_an_answer_for_another_job_is_never_taken_for_ours():
    session = Session(compiled()[1], board := Slow())
    wait = board.wait
    board.wait = lambda *a: (wait(*a), board._set("RUN_ID", 9))
    with pytest.raises(DeviceLost, match="Job 1 was started, but .* answers for job 9"):
        session.run(picture())
    with pytest.raises(DeviceLost, match="counts 9 jobs"):
        session.run(picture())


def test_a_start_that_the_machine_ignored_gives_no_old_result():
    session = Session(compiled()[1], board := Recorded())
    session.run(picture())
    board._start = lambda: None
    with pytest.raises(DeviceLost, match="neither runs the job .* or the start did not reach it"):
        session.run(picture())


def test_job_numbers_wrap():
    board = Recorded()
    board._set("RUN_ID", 0xFFFF_FFFF)
    session = Session(compiled()[1], board)
    assert session.frame(picture()).run_id == 0
    works(session, compiled()[0])


def test_threads_take_turns():
    network, image = compiled()

    class Timed(Slow):
        def wait(self, limit, progress):
            time.sleep(0.002)
            return super().wait(limit, progress)

    session, failed = Session(image, Timed()), []

    def work(seed):
        try:
            for task in ("task0", "task1"):
                exact(session.frame(picture(seed=seed), task), network, picture(seed=seed), task)
        except BaseException as error:  # reported to the main thread
            failed.append(error)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed and not any(thread.is_alive() for thread in threads)


def test_unused_sessions_and_devices_are_freed():
    import gc
    import weakref
    session = Session(compiled()[1], board := Recorded())
    session.run(picture())
    gone = weakref.ref(board)
    del session, board
    gc.collect()
    assert gone() is None
