# SPDX-License-Identifier: Apache-2.0
"""A session on golden equals the integer network; what does not fit is refused before anything is touched."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.int_model import dequantize
from golden.spec.machine import ABI_VERSION, SMALL
from golden.spec.machine import NANO as NANO_MACHINE
from golden.spec.model import NANO
from golden.spec.program.container import BadMagic
from host.driver import Session, open_device
from host.driver.errors import (
    DeviceLost,
    InputError,
    OutOfMemory,
    VersionMismatch,
)
from tests.host.support.devices import CLASSIFIER, Recorded, Small, compiled, exact, picture, works

WIDER = replace(NANO, name="wider", dim=96, heads=3, image_width=32, tasks=("only",))


# -- the answer

@pytest.mark.parametrize("plan", ["fast", "accurate"])
def test_golden_equals_the_integer_network_for_every_task_and_both_together(plan):
    network, image = compiled(plan=plan)
    assert list(image.programs) == ["task0", "task1", "task0+task1"]
    board = open_device("golden", machine="nano")
    session = Session(image, board)
    for seed in (1, 2):
        for task in image.programs:
            exact(session.frame(picture(seed=seed), task), network, picture(seed=seed), task)
    np.testing.assert_array_equal(session.run(picture(seed=3), task="task1")["features"],
                                  dequantize(network.run(picture(seed=3), "task1")))
    assert not np.array_equal(network.run(picture(), "task0"), network.run(picture(), "task1"))


def test_class_scores_equal_the_integer_networks():
    network, image = compiled(CLASSIFIER)
    result = Session(image, open_device("golden", machine="nano")).frame(picture())
    wanted = network.logits(network.run(picture()))
    assert wanted.shape == (2, 37) and len(np.unique(wanted)) > 30
    np.testing.assert_array_equal(result.scores["default"], wanted)
    np.testing.assert_array_equal(result.logits, dequantize(wanted).mean(axis=0))
    network, image = compiled()
    assert Session(image, open_device("golden", machine="nano")).frame(picture()).logits is None


def test_two_models_one_after_the_other_on_one_device():
    board = open_device("golden", machine="nano")
    pairs = [compiled(), compiled(WIDER), compiled(CLASSIFIER), compiled(seed=5), compiled()]
    for network, image in pairs:
        works(Session(image, board), network)
        board.free()


def test_a_session_ends_where_the_next_begins():
    board = Recorded()
    (network, image), (other, second) = compiled(), compiled(WIDER)
    first = Session(image, board)
    works(first, network)
    later = Session(second, board)
    starts = len(board.writes("CTRL"))
    with pytest.raises(DeviceLost, match="Another program was loaded .* make a new Session of 'nano' first"):
        first.frame(picture())
    assert len(board.writes("CTRL")) == starts
    works(later, other)


def test_a_refused_session_leaves_the_loaded_one_alone():
    network, image = compiled()
    session = Session(image, board := Recorded())
    with pytest.raises(VersionMismatch):
        Session(replace(compiled(WIDER)[1], machine=SMALL, planes=(b"",)), board)
    works(session, network)


def test_loading_gives_memory_back():
    network, image = compiled()
    board = Small(2 * 300_000)
    for _ in range(10):
        works(Session(image, board), network)


def test_a_program_may_come_from_a_file(tmp_path):
    network, image = compiled()
    (tmp_path / "nano.emoe").write_bytes(image.to_bytes())
    works(Session(tmp_path / "nano.emoe", open_device("golden", machine="nano")), network)
    works(Session(str(tmp_path / "nano.emoe"), open_device("golden", machine="nano")), network)
    network.save(tmp_path / "nano.safetensors")
    with pytest.raises(BadMagic, match="is a model, not a program .*edge-moe compile"):
        Session(tmp_path / "nano.safetensors", open_device("golden", machine="nano"))
    with pytest.raises(FileNotFoundError):
        Session(tmp_path / "none.emoe", open_device("golden", machine="nano"))


def test_result_has_the_counters_of_the_spec():
    result = Session(compiled()[1], open_device("golden", machine="nano")).frame(picture(), "task1")
    symbols = compiled()[1].symbols["task1"]
    assert result.counters["RETIRED"] >= len(symbols) and result.run_id == 1
    assert {"CYCLES", "ARRAY_BUSY", "WEIGHT_READ3"} <= set(result.counters) and result.cycles == 0


# -- pictures

BAD_PICTURES = {
    "height and width swapped": picture().transpose(1, 0, 2), "too small": picture()[:16],
    "channels first": picture().transpose(2, 0, 1), "no channels": picture()[:, :, 0], "empty": picture()[:0],
    "a batch": picture()[None], "float": picture().astype(np.float32) / 255,
    "NaN": np.full((32, 64, 3), np.nan, np.float32), "infinite": np.full((32, 64, 3), np.inf),
    "signed": picture().astype(np.int8), "wider integers": picture().astype(np.int64),
    "objects": picture().astype(object), "a list": picture().tolist(), "nothing": None, "text": "picture.png",
}


@pytest.mark.parametrize("what", BAD_PICTURES)
def test_a_picture_that_does_not_fit_touches_nothing(what):
    session = Session(compiled()[1], board := Recorded())
    board.seen.clear()
    with pytest.raises(InputError, match=r"wants a uint8 image of shape \(32, 64, 3\) .* came"):
        session.run(BAD_PICTURES[what])
    assert board.seen == []


@pytest.mark.parametrize("task", ["task2", "", "task0+task0", "TASK0", 0])
def test_a_task_that_is_not_there_touches_nothing(task):
    session = Session(compiled()[1], board := Recorded())
    board.seen.clear()
    with pytest.raises(InputError, match=r"knows the tasks task0, task1, task0\+task1, not"):
        session.frame(picture(), task)
    with pytest.raises(InputError, match="knows the tasks"):
        session.start(bytes(session.image.input["bytes"]), task)
    assert board.seen == []


def test_any_memory_layout_of_the_right_picture_will_do():
    network, image = compiled()
    session = Session(image, open_device("golden", machine="nano"))
    pixels = picture()
    wanted = session.run(pixels).features
    frozen = pixels.copy()
    frozen.flags.writeable = False
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[::2, ::2] = pixels
    for other in (frozen, np.asfortranarray(pixels), wide[::2, ::2], np.flip(np.flip(pixels, 0).copy(), 0)):
        np.testing.assert_array_equal(session.run(other).features, wanted)


def test_an_input_buffer_of_another_length_is_refused():
    session = Session(compiled()[1], board := Recorded())
    board.seen.clear()
    with pytest.raises(InputError, match="has 6144 bytes; 6143 came"):
        session.start(bytes(6143))
    assert board.seen == []


# -- device and program

@pytest.mark.parametrize("name, value, error, sentence", [
    ("ID", 0, DeviceLost, "answers with ID 0x00000000, not 0x454d4f45: is the bitstream loaded"),
    ("ID", 0xFFFF_FFFF, DeviceLost, "ID 0xffffffff"),
    ("ABI", ABI_VERSION + 1, VersionMismatch, f"speaks ABI version {ABI_VERSION + 1}, this driver {ABI_VERSION}"),
    ("FINGERPRINT", SMALL.fingerprint, VersionMismatch, "compiled for the machine 'nano' .* is 'small'"),
    ("FINGERPRINT", 1, VersionMismatch, "is 'another' .0x0000000000000001."),
    ("FINGERPRINT", NANO_MACHINE.fingerprint ^ 1 << 63, VersionMismatch, "is 'another'"),
])
def test_what_does_not_belong_together_is_refused_before_any_write(name, value, error, sentence):
    board = Recorded()
    board._set(name, value)
    with pytest.raises(error, match=sentence):
        Session(compiled()[1], board)
    assert not board.writes()


def test_too_little_memory_is_reported_before_any_write():
    with pytest.raises(OutOfMemory, match=r"'nano' needs \d{6} bytes of device memory\. \d+ bytes do not fit"):
        Session(compiled()[1], board := Small(100_000))
    assert not board.writes() and board.left == board.size


@pytest.mark.parametrize("limits", [{"job_limit": 0}, {"job_limit": 1 << 32}, {"bus_limit": -1}])
def test_limits_that_no_register_holds_are_refused(limits):
    board = Recorded()
    with pytest.raises(InputError, match="_limit must lie in 1..4294967295 cycles"):
        Session(compiled()[1], board, **limits)
    assert not board.seen


def test_limits_reach_the_machine():
    Session(compiled()[1], board := Recorded(), job_limit=12345, bus_limit=678)
    assert board._get("JOB_LIMIT") == 12345 and board._get("BUS_LIMIT") == 678


def test_windows_hold_the_buffers_and_nothing_else():
    Session(compiled()[1], board := Recorded()).run(picture(), "task0")
    r = board._get
    assert r("READ_LO") == r("PROGRAM_ADDR") < r("TABLE_ADDR") < r("INPUT_ADDR") < r("READ_HI")
    assert r("WRITE_LO") == r("OUTPUT_ADDR") < r("WRITE_HI") and r("WEIGHT_LO") == r("WEIGHT_ADDR0") < r("WEIGHT_HI")
    windows = sorted((r(f"{name}_LO"), r(f"{name}_HI")) for name in ("READ", "WRITE", "WEIGHT"))
    assert all(a[1] <= b[0] for a, b in zip(windows, windows[1:], strict=False)), "windows overlap"
