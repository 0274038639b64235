# SPDX-License-Identifier: Apache-2.0
"""Several devices, one program: results in order, none lost when devices fail or die, nothing run that cannot be."""

import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.spec.status import Status
from host.driver import Session
from host.driver.errors import BusError, DeviceLost, DeviceNotFound, InputError, IntegrityError, VersionMismatch
from host.driver.pool import Figures, Pool
from host.driver.remote.token import VALUE
from host.driver.result import same
from tests.host.support.devices import Failing, Recorded, Slow, compiled, picture
from tests.host.support.served import TOKEN, Endless, process


def frames(count):
    return [picture(seed=seed) for seed in range(count)]


def exact(results, pictures, task="task0"):
    network = compiled()[0]
    assert len(results) == len(pictures)
    for result, pixels in zip(results, pictures, strict=True):
        np.testing.assert_array_equal(result.residuals[task], network.run(pixels, task))


def image():
    return compiled()[1]


class Dying(Recorded):
    """Fails for good at its ``dies``-th job: not even a reset helps."""

    def __init__(self, dies=0, **options):
        self.dies, self.dead = dies, False
        super().__init__(**options)

    def _start(self):
        self.dies -= 1
        if self.dies < 0:
            self.dead = True
            raise DeviceLost("The board is on fire.")
        super()._start()

    def reset(self):
        if getattr(self, "dead", False):
            raise DeviceLost("It still is.")
        super().reset()


class Flaky(Failing):
    """Every ``each``-th job fails with a bus error, and a reset helps."""

    def __init__(self, each):
        self.each, self.count = each, 0
        super().__init__()

    def _start(self):
        self.count += 1
        self.status = Status.R_SLVERR if self.count % self.each == 0 else None
        super()._start()


def test_results_come_in_order_and_every_device_works():
    class Paced(GoldenDevice):
        def _start(self):
            time.sleep(0.01)
            super()._start()
    pictures = frames(9)
    pool = Pool([Paced("nano") for _ in range(3)], image())
    for task in ("task0", "task1"):
        exact(pool.run(pictures, task), pictures, task)
        figures = pool.figures
        assert set(figures.frames) == {"golden:nano", "golden:nano (2)", "golden:nano (3)"}
        assert sum(figures.frames.values()) == 9 and not figures.lost and not figures.retries
    assert repr(pool) == "<Pool 3 devices>"


def test_results_are_those_of_one_session():
    pictures, tasks = frames(4), ["task1", None, "task0+task1", "task0"]
    one = Session(image(), Recorded()).run(pictures, tasks)
    assert all(map(same, one, Pool([Recorded(), Recorded()], image()).run(pictures, tasks)))


def test_a_slow_first_frame_does_not_change_the_order():
    class Late(GoldenDevice):
        begun = 0

        def _start(self):
            Late.begun += 1
            time.sleep(0.4 if Late.begun == 1 else 0)
            super()._start()
    pictures = frames(8)
    exact(Pool([Late("nano"), Late("nano")], image()).run(pictures), pictures)


@pytest.mark.parametrize("device", ["golden:nano", pytest.param("sim:nano", marks=pytest.mark.rtl)])
def test_thirty_frames_on_three_served_boards_one_of_them_killed_on_the_way(monkeypatch, device):
    monkeypatch.setenv(VALUE, TOKEN)
    with ExitStack() as stack:
        boards = [stack.enter_context(process(device, patience=1200)) for _ in range(3)]
        pictures, found = frames(30), []
        with Pool([f"remote:{address}" for _, address in boards], image()) as pool:
            for results in pool.batches(([pixels], "task0") for pixels in pictures):
                found += results
                if len(found) == 8:
                    boards[1][0].kill()
            exact(found, pictures)
            figures = pool.figures
        assert sum(figures.frames.values()) == 30 and 0 < figures.p50 <= figures.p99 <= max(figures.latencies)
        lost, = figures.lost
        assert boards[1][1] in lost and f"at {boards[1][1]} is" in figures.lost[lost] and len(pool.devices) == 2
        assert all(count >= 5 for name, count in figures.frames.items() if name != lost)


def test_a_device_that_dies_is_set_aside_and_its_frame_is_run_again():
    pictures = frames(12)
    pool = Pool([Dying(dies=2), Recorded()], image())
    exact(pool.run(pictures), pictures)
    assert pool.figures.retries == 1 and len(pool.devices) == 1
    assert list(pool.figures.lost.values()) == ["The board is on fire. It still is."]
    exact(pool.run(pictures[:2]), pictures[:2])
    assert not pool.figures.lost


def test_a_device_that_fails_now_and_then_is_reset_and_stays():
    pictures = frames(12)
    pool = Pool([Flaky(3), Recorded()], image())
    exact(pool.run(pictures), pictures)
    assert len(pool.devices) == 2 and not pool.figures.lost


def test_a_job_that_fails_everywhere_is_raised_after_its_last_attempt():
    def broken():
        device = Failing()
        device.status = Status.INTERNAL
        return device
    boards = [broken(), broken()]
    pool = Pool(boards, image(), retries=2)
    with pytest.raises(IntegrityError, match="INTERNAL"):
        pool.run(frames(1))
    starts = sum(len([entry for entry in board.writes("CTRL") if entry[2] & 1]) for board in boards)
    assert starts == 3
    for board in boards:
        board.status = None
    exact(pool.run(frames(2)), frames(2))


def test_no_device_left_is_told_with_all_the_reasons():
    pool = Pool([Dying(1), Dying(1)], image(), retries=9)
    with pytest.raises(DeviceLost, match=r"No device of the pool is left: .*golden:nano( .2.)?: The board is on fire"):
        pool.run(frames(6))
    for _ in range(2):
        with pytest.raises(DeviceLost, match="No device of the pool is left"):
            pool.run(frames(1))


def test_what_another_device_would_repeat_is_raised_at_once():
    class Refusing(Failing):
        status = Status.BAD_FIELD
    boards = [Refusing(), Refusing()]
    pool = Pool(boards, image())
    with pytest.raises(Exception, match="BAD_FIELD"):
        pool.run(frames(1))
    assert sum(len([entry for entry in board.writes("CTRL") if entry[2] & 1]) for board in boards) == 1


def test_a_wrong_picture_is_refused_before_any_runs():
    boards = [Recorded(), Recorded()]
    pool = Pool(boards, image())
    for board in boards:
        board.seen.clear()
    with pytest.raises(InputError, match="wants a uint8 image"):
        pool.run([*frames(3), np.zeros((3, 3), np.uint8)])
    with pytest.raises(InputError, match="knows the tasks"):
        pool.run(frames(1), "task9")
    assert not any(board.seen for board in boards)


def test_mixed_machines_are_refused_before_anything_is_written():
    boards = [Recorded(), GoldenDevice("small"), Recorded()]
    boards[0].seen.clear()
    with pytest.raises(VersionMismatch, match=r"must be one machine: golden:nano is 'nano' \(0x[0-9a-f]{16}\), "
                                              r"golden:small is 'small'"):
        Pool(boards, image())
    assert not boards[0].writes()
    with pytest.raises(VersionMismatch, match="was compiled for the machine 'nano'"):
        Pool([GoldenDevice("small")], image())


def test_a_pool_of_nothing_or_of_what_is_not_there_is_refused():
    for none in ([], (), "golden:nano"):
        with pytest.raises(InputError, match="A pool needs a list of devices"):
            Pool(none, image())
    with pytest.raises(DeviceNotFound, match="no device 'gold'"):
        Pool(["golden:nano", "gold"], image())


def test_devices_that_it_was_given_stay_open_and_those_that_it_opened_are_closed():
    mine = Recorded()
    with Pool([mine, "golden:nano"], image()) as pool:
        opened = pool.devices[1]
    assert opened.closed and not mine.closed


def test_pictures_are_read_only_as_far_ahead_as_devices_need_them():
    read = []

    def endless():
        while True:
            read.append(len(read))
            yield [picture(seed=len(read))], "task0"
    pool = Pool([Recorded(), Recorded()], image())
    results = pool.batches(endless())
    for count in range(1, 6):
        next(results)
        assert len(read) <= count + 4
    results.close()
    exact(pool.run(frames(2)), frames(2))


def test_a_pool_that_runs_refuses_a_second_run():
    pool = Pool([Recorded()], image())
    results = pool.batches(([pixels], "task0") for pixels in frames(9))
    next(results)
    with pytest.raises(InputError, match="runs already"):
        pool.run(frames(1))
    results.close()
    exact(pool.run(frames(1)), frames(1))


def test_an_exception_of_the_reader_ends_the_run_and_the_jobs():
    board = Endless()

    def pictures():
        yield [picture()], "task0"
        time.sleep(0.2)
        raise OSError("the disk is full")
    pool = Pool([board], image())
    with pytest.raises(OSError, match="the disk is full"):
        list(pool.batches(pictures()))
    assert board.read32(0) & 4 and threading.active_count() < 20


def test_figures():
    figures = Figures(2.0, [0.01 * n for n in range(1, 101)], {"a": 60, "b": 40})
    assert figures.p50 == pytest.approx(0.50) and figures.p99 == pytest.approx(0.99) and figures.per_second == 50
    assert Figures().p50 == Figures().p99 == Figures().per_second == 0


# -- one session in a thread

def test_run_async_gives_results_in_the_order_of_asking():
    session, pictures = Session(image(), Slow()), frames(5)
    todo = [session.run_async(pixels, "task1") for pixels in pictures]
    exact([each.result(20) for each in todo], pictures, "task1")
    exact(session.run_async(pictures).result(20), pictures)


def test_run_async_gives_errors_to_whom_they_concern_and_goes_on():
    session = Session(image(), Flaky(2))
    todo = [session.run_async(picture()) for _ in range(3)]
    exact([todo[0].result(20)], [picture()])
    with pytest.raises(BusError):
        todo[1].result(20)
    exact([todo[2].result(20)], [picture()])
    with pytest.raises(InputError):
        session.run_async(np.zeros((1, 1, 3), np.uint8)).result(20)


def test_run_async_can_be_cancelled_before_it_begins_and_aborted_afterwards():
    board = Endless()
    session = Session(image(), board)
    first, second = session.run_async(picture()), session.run_async(picture())
    while board.read32(0) & 4:
        time.sleep(0.001)
    assert second.cancel()
    session.abort()
    with pytest.raises(Exception, match="ABORTED"):
        first.result(20)
