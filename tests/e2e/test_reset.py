# SPDX-License-Identifier: Apache-2.0
"""The reset pin pulled while a session uses the simulated board: DeviceLost after a few thousand cycles, not after the
2**31 that a job may take."""

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.errors import DeviceLost
from host.driver.layout import prepare_input
from host.driver.session import Session
from sim.board import CHUNK
from sim.board.settings import DramSettings

pytestmark = pytest.mark.rtl
SOON = 3 * CHUNK


@pytest.fixture(scope="module")
def small():
    config = MODELS["nano"]
    return compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)


@pytest.fixture
def board(device):
    """A calm board whose frames take some looks of the driver."""
    device.board.inject([])
    device.board.configure(DramSettings(latency=20, bytes_per_cycle=1))
    yield device.board
    device.board.reset()
    device.board.configure(DramSettings(latency=20))


def recovers(small, device, picture):
    got = Session(small, device).frame(picture).residuals
    wanted = Session(small, GoldenDevice(NANO)).frame(picture).residuals
    assert all(np.array_equal(got[task], wanted[task]) for task in wanted)


@pytest.mark.parametrize("frames", [0, 1])
def test_between_two_frames(frames, small, device, board, picture):
    session = Session(small, device)
    for _ in range(frames):
        session.frame(picture)
    board.reset()
    began = board.cycle
    with pytest.raises(DeviceLost, match="was reset"):
        session.frame(picture)
    assert board.cycle - began < 1000
    recovers(small, device, picture)


@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.parametrize("look", [1, 3])
def test_in_the_middle_of_a_frame(look, frames, small, device, board, picture):
    session = Session(small, device)
    for _ in range(frames):
        session.frame(picture)
    cycles = []

    def pulled(done):
        cycles.append(done)
        if len(cycles) == look:
            board.reset()
            cycles.append(board.cycle)
    with pytest.raises(DeviceLost, match="'sim:nano' neither runs the job .* it was reset"):
        session.frame(picture, progress=pulled)
    assert len(cycles) == look + 1 and board.cycle - cycles[-1] < SOON
    with pytest.raises(DeviceLost):
        session.frame(picture)
    recovers(small, device, picture)


@pytest.mark.parametrize("after", [0, 3, 40, 500, 7000, 60_000])
def test_at_any_time_for_tools_that_wait_themselves(after, small, device, board, picture):
    session = Session(small, device)
    session.start(prepare_input(picture, small.input))
    board.run(after, stop_at_interrupt=False)
    board.reset()
    began = board.cycle
    with pytest.raises(DeviceLost):
        session.regs.wait(1 << 31)
    with pytest.raises(DeviceLost, match="neither runs the job"):
        session.finish()
    assert board.cycle - began < SOON
    recovers(small, device, picture)


def test_an_interrupt_that_is_switched_off_is_not_waited_for(small, device, board, picture):
    session = Session(small, device)

    def off(_):
        session.regs["GIER"] = 0
    began = board.cycle
    assert session.frame(picture, progress=off).run_id
    assert not board.interrupt and board.cycle - began < 1_000_000
    with pytest.raises(DeviceLost, match="register GIER"):
        session.frame(picture)
    recovers(small, device, picture)
