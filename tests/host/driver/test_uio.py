# SPDX-License-Identifier: Apache-2.0
"""The board's transport against files of the real layout: frames, registers, caches, interrupts."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from golden.spec.regs import BY_NAME, MAP_BYTES
from golden.spec.status import Status
from host.driver import Device, Session, open_device
from host.driver.errors import (
    AccelError,
    DeviceLost,
    DeviceTimeout,
    OutOfMemory,
)
from host.driver.roads import board as board_road
from tests.host.support.devices import compiled, picture
from tests.host.support.stand_in import DMA_BYTES, PHYS_ADDR, Board, StandIn, lay_out, loaded, works

SYSFS = "sys/class/u-dma-buf/udmabuf0"

# -- frames

def test_whole_frames_run_through_the_files(board, opened):
    session = loaded(opened)
    for seed in (1, 2):
        for task in ("task0", "task1"):
            works(session, seed, task)
    joint = session.frame(picture(), "task0+task1")
    assert list(joint.residuals) == ["task0", "task1"] and joint.run_id == 5
    assert board.jobs == 5 and board.aborts == 0 and isinstance(opened, Device)
    assert session.regs["OUTPUT_ADDR"] > PHYS_ADDR > 1 << 32


def test_the_golden_and_the_uio_device_give_the_same_bytes(opened):
    golden = Session(compiled()[1], open_device("golden", machine="nano")).frame(picture(), "task1")
    assert golden.residuals["task1"].tobytes() == loaded(opened).frame(picture(), "task1").residuals["task1"].tobytes()


def test_a_refusal_of_the_machine_comes_through(board, opened):
    session = loaded(opened)
    session.regs["READ_HI"] = session.regs["READ_LO"]
    with pytest.raises(AccelError) as caught:
        session.run(picture())
    assert caught.value.status is Status.RANGE_UNSET
    works(loaded(opened))


# -- registers and memory

def test_registers_are_little_endian_words_of_32_bits(board, opened, tmp_path):
    assert opened._words.dtype == np.dtype("<u4") and opened._words.flags.aligned
    before = (tmp_path / "dev/uio0").read_bytes()
    offset = BY_NAME["TABLE_ADDR"].offset
    opened.write32(offset, 0x0102_0304)
    after = (tmp_path / "dev/uio0").read_bytes()
    assert after[offset:offset + 4] == bytes((4, 3, 2, 1)) and opened.read32(offset) == 0x0102_0304
    assert before[:offset] + after[offset:offset + 4] + before[offset + 4:] == after
    assert len(after) == MAP_BYTES


def test_buffers_are_pages_of_the_dma_memory(opened, tmp_path):
    first, second = opened.allocate(100), opened.allocate(5000)
    assert (first.address, second.address) == (PHYS_ADDR, PHYS_ADDR + 4096)
    assert (len(first.view), len(second.view)) == (100, 5000)
    second.view[:3] = (7, 8, 9)
    assert (tmp_path / "dev/udmabuf0").read_bytes()[4096:4099] == bytes((7, 8, 9))
    assert opened.allocate(1).address == PHYS_ADDR + 4096 + 8192
    opened.free()
    assert opened.allocate(DMA_BYTES).address == PHYS_ADDR
    with pytest.raises(OutOfMemory, match=r"1 bytes do not fit: 0 of the 1048576 bytes of udmabuf0 are free.* cma="):
        opened.allocate(1)


def test_a_program_that_does_not_fit_is_reported_with_its_whole_size(tmp_path):
    files = lay_out(tmp_path, dma_bytes=65536)
    with Board(tmp_path) as board:
        device = StandIn(board, **files)
        before = (tmp_path / "dev/uio0").read_bytes()
        with pytest.raises(OutOfMemory, match=r"'nano' needs \d{6} bytes of device memory. .* of the 65536 bytes"):
            loaded(device)
        assert (tmp_path / "dev/uio0").read_bytes() == before
        device.close()


# -- caches

def fields(text):
    word = int(text, 16)
    return {"offset": word >> 32, "size": word & 0xFFFF_FFF0, "direction": word >> 2 & 3, "flag": word & 3}


@pytest.mark.parametrize("size, wanted", [(100, 112), (4096, 4096), (4097, 4112), (1, 16)])
def test_a_sync_command_is_one_word(opened, tmp_path, size, wanted):
    opened.allocate(3 * 4096)
    buffer = opened.allocate(size)
    buffer.sync_for_device()
    assert (tmp_path / SYSFS / "sync_for_device").read_text() == f"0x{3 * 4096:08x}{wanted | 1:08x}"
    assert (tmp_path / SYSFS / "sync_for_cpu").read_text() == "0\n"
    buffer.sync_for_cpu()
    assert fields((tmp_path / SYSFS / "sync_for_cpu").read_text()) == {
        "offset": 3 * 4096, "size": wanted, "direction": 0, "flag": 1}


def test_caches_are_synchronised_around_every_job(opened, monkeypatch):
    session = loaded(opened)
    seen, through, write32 = [], Path.write_text, opened.write32

    def written(path, text):
        seen.append((path.name, fields(text)["offset"], fields(text)["size"]))
        return through(path, text)

    def started(offset, value):
        if offset == 0:
            seen.append(("start",))
        write32(offset, value)
    monkeypatch.setattr(Path, "write_text", written)
    monkeypatch.setattr(opened, "write32", started)
    session.run(picture())
    regs, size = session.regs, len(session._output.view)
    output = regs["OUTPUT_ADDR"] - PHYS_ADDR
    main, inputs = regs["READ_LO"] - PHYS_ADDR, regs["INPUT_ADDR"] - PHYS_ADDR
    assert seen[2:] == [("start",), ("sync_for_cpu", output, size)]
    assert sorted(seen[:2]) == sorted([("sync_for_device", main, regs["READ_HI"] - regs["READ_LO"]),
                                       ("sync_for_device", output, size)])
    assert main <= inputs < main + seen[0][2]


def test_a_sync_file_that_cannot_be_written_is_reported(opened, tmp_path):
    buffer = opened.allocate(16)
    (tmp_path / SYSFS / "sync_for_cpu").unlink()
    (tmp_path / SYSFS / "sync_for_cpu").mkdir()
    with pytest.raises(DeviceLost, match="sync_for_cpu cannot be written: Is a directory"):
        buffer.sync_for_cpu()


# -- interrupts

def test_the_interrupt_is_enabled_before_each_wait(board, opened, monkeypatch):
    monkeypatch.setattr(board_road, "POLL_SECONDS", 30.0)  # polling may not hide a lost enable
    session = loaded(opened)
    began = time.monotonic()
    for seed in range(4):
        works(session, seed)
    assert time.monotonic() - began < 15 and board.enables >= board.fired >= 4


def test_a_lost_interrupt_is_found_by_polling(board, opened):
    board.mute = True
    session = loaded(opened)
    began = time.monotonic()
    works(session)
    works(session, 2, "task1")
    assert time.monotonic() - began < 2 and board.fired == 0


def test_interrupts_that_mean_nothing_end_no_wait(board, opened, monkeypatch):
    session = loaded(opened)
    works(session)
    for _ in range(5):
        board.fire()
    works(session, 2)
    board.hangs = True
    board.fire()
    monkeypatch.setattr(session, "job_limit", 50_000)
    with pytest.raises(DeviceTimeout):
        session.run(picture())


def test_a_node_without_an_interrupt_is_polled(board, opened, monkeypatch):
    session = loaded(opened)
    real = os.write

    def refused(fd, data):
        if fd == board.events.fileno():
            raise OSError(5, "Input/output error")
        return real(fd, data)
    monkeypatch.setattr(os, "write", refused)
    works(session)
    works(session, 2, "task1")
    assert board.fired == 0


def test_a_wait_ends_at_its_limit_and_reports_its_progress(board, opened):
    heard = []
    began = time.monotonic()
    assert opened.wait(60_000, heard.append) is False  # 0.2 s
    assert 0.19 < time.monotonic() - began < 2
    assert len(heard) >= 3 and heard == sorted(heard) and 0 < heard[-1] <= 60_000


def test_a_job_that_hangs_is_aborted_and_the_next_is_exact(board, opened, tmp_path):
    (tmp_path / "sys/class/hwmon/hwmon0").mkdir(parents=True)
    (tmp_path / "sys/class/hwmon/hwmon0/temp1_input").write_text("71500\n")
    (tmp_path / "sys/class/hwmon/hwmon0/temp2_input").write_text("nonsense\n")
    (tmp_path / "sys/class/thermal/thermal_zone0").mkdir(parents=True)
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("48000\n")
    session = loaded(opened, job_limit=200_000)
    board.hangs = True
    with pytest.raises(DeviceTimeout, match="clock 0.3 MHz, 72 degrees C"):
        session.run(picture())
    assert board.aborts == 1
    board.hangs = False
    works(session)


def test_ctrl_c_while_waiting_aborts_and_the_next_is_exact(board, opened):
    session = loaded(opened)
    board.hangs = True
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background shells let it be ignored

    def pressed(done):
        if done:
            signal.raise_signal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            session.frame(picture(), progress=pressed)
    finally:
        signal.signal(signal.SIGINT, before)
    assert board.aborts == 1
    board.hangs = False
    works(session)
