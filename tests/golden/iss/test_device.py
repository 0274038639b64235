# SPDX-License-Identifier: Apache-2.0
"""The simulator's registers behave as the spec says: toggling, clearing on read, locked ones, statuses, counters."""

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.iss import IssFault, placed
from golden.model.random_int_model import random_int_model
from golden.ops.arith import DomainError
from golden.spec.isa import INSTRUCTION_BYTES, Opcode
from golden.spec.machine import ABI_VERSION, MACHINES, NANO, ZCU102
from golden.spec.model import NANO as MODEL
from golden.spec.model import ConfigError
from golden.spec.regs import BY_NAME, MAP_BYTES, REGISTERS, Access, Cause, Ctrl, StatusBits
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.driver.layout import prepare_input, read_output

CTRL, GIER, IER, ISR, STATUS = (BY_NAME[name].offset for name in ("CTRL", "GIER", "IER", "ISR", "STATUS"))


def wide(device, name):
    offset = BY_NAME[name].offset
    return device.read32(offset) | device.read32(offset + 4) << 32


def put(device, name, value):
    offset = BY_NAME[name].offset
    device.write32(offset, value & 0xFFFF_FFFF)
    if BY_NAME[name].wide:
        device.write32(offset + 4, value >> 32)


@pytest.fixture(scope="module")
def network():
    return random_int_model(MODEL, seed=3)


@pytest.fixture(scope="module")
def image(network):
    return compile_model(network, NANO)


@pytest.fixture
def ready(image):
    """A device with the program of task1 and a picture placed by hand, interrupts on; and the picture."""
    device = GoldenDevice("nano")
    pixels = np.random.default_rng(1).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    _, registers, size = placed(image, prepare_input(pixels, image.input), "task1", device._dram)
    for name, value in registers.items():
        put(device, name, value)
    put(device, "GIER", 1)
    put(device, "IER", Cause.DONE | Cause.ERROR)
    return device, pixels, (registers["OUTPUT_ADDR"], size)


def test_registers_come_up_as_the_spec_says():
    device = GoldenDevice(NANO)
    special = {"CTRL": Ctrl.IDLE, "ABI": ABI_VERSION, "FINGERPRINT": NANO.fingerprint}
    for register in REGISTERS:
        found = wide(device, register.name) if register.wide else device.read32(register.offset)
        assert found == special.get(register.name, register.reset), register.name


def test_a_job_started_by_register_writes_gives_the_integer_networks_bytes(ready, network, image):
    device, pixels, (address, size) = ready
    assert not device.wait(1000, print)
    device.write32(CTRL, Ctrl.START)
    assert device.wait(1000, print)
    out = device._dram.read(address, size)
    np.testing.assert_array_equal(read_output(out, image.results("task1")[0]), network.run(pixels, "task1"))
    assert device.read32(BY_NAME["STATUS"].offset) == Status.OK | StatusBits.DRAINED
    assert wide(device, "RETIRED") >= len(image.symbols["task1"]) and wide(device, "CYCLES") == 0


def test_done_and_ready_clear_when_read_and_idle_stays(ready):
    device, _, _ = ready
    device.write32(CTRL, Ctrl.START)
    assert device.read32(CTRL) == Ctrl.DONE | Ctrl.READY | Ctrl.IDLE
    assert device.read32(CTRL) == Ctrl.IDLE
    device.write32(CTRL, Ctrl.ABORT)  # nothing runs
    assert device.read32(CTRL) == Ctrl.IDLE and device.read32(BY_NAME["RUN_ID"].offset) == 1


def test_isr_toggles_where_ones_are_written(ready):
    device, _, _ = ready
    device.write32(CTRL, Ctrl.START)
    assert device.read32(ISR) == Cause.DONE | Cause.READY
    device.write32(ISR, 0)
    assert device.read32(ISR) == Cause.DONE | Cause.READY
    device.write32(ISR, Cause.DONE)
    assert device.read32(ISR) == Cause.READY and not device.wait(10, print)
    device.write32(ISR, Cause.READY)
    assert device.read32(ISR) == 0
    device.write32(ISR, Cause.DONE | Cause.READY)
    assert device.read32(ISR) == Cause.DONE | Cause.READY
    device.write32(ISR, 0xFFFF_FFFF)
    assert device.read32(ISR) == Cause.ERROR, "bits that are no causes stay 0"


@pytest.mark.parametrize("gier, ier, interrupt", [
    (1, 7, True), (1, 2, True), (1, 4, False), (0, 7, False), (1, 0, False)])
def test_enables_gate_the_interrupt_and_not_the_causes(ready, gier, ier, interrupt):
    device, _, _ = ready
    put(device, "GIER", gier)
    put(device, "IER", ier)
    device.write32(CTRL, Ctrl.START)
    assert device.read32(ISR) == Cause.DONE | Cause.READY and device.wait(10, print) == interrupt


def test_a_fault_shows_in_the_registers_and_the_next_job_is_exact(ready, network, image):
    device, pixels, (address, size) = ready
    high = wide(device, "WRITE_HI")
    put(device, "WRITE_HI", high - 64)
    device.write32(CTRL, Ctrl.START)
    assert device.read32(ISR) == Cause.DONE | Cause.READY | Cause.ERROR
    assert device.read32(BY_NAME["STATUS"].offset) == Status.RANGE_WRITE | StatusBits.DRAINED
    index = device.read32(BY_NAME["ERR_INDEX"].offset)
    assert image.symbols["task1"][index].kind == Opcode.STORE.name
    assert address <= wide(device, "ERR_ADDR") < high
    device.write32(ISR, device.read32(ISR))
    put(device, "WRITE_HI", high)
    device.write32(CTRL, Ctrl.START)
    assert device.read32(BY_NAME["STATUS"].offset) == Status.OK | StatusBits.DRAINED
    assert device.read32(ISR) == Cause.DONE | Cause.READY and device.read32(BY_NAME["RUN_ID"].offset) == 2
    assert device.read32(BY_NAME["ERR_INDEX"].offset) == 0 == wide(device, "ERR_ADDR")
    np.testing.assert_array_equal(read_output(device._dram.read(address, size), image.results()[0]),
                                  network.run(pixels, "task1"))


def test_a_start_without_windows_is_refused():
    device = GoldenDevice(NANO)
    device.write32(CTRL, Ctrl.START)
    assert device.read32(BY_NAME["STATUS"].offset) & 0xFF == Status.RANGE_UNSET


def test_a_program_for_another_machine_is_refused(ready, image):
    device, _, _ = ready
    program = wide(device, "PROGRAM_ADDR")
    device._dram.view(program, INSTRUCTION_BYTES)[12] ^= 1
    device.write32(CTRL, Ctrl.START)
    assert device.read32(BY_NAME["STATUS"].offset) & 0xFF in (Status.BAD_CONFIG, Status.BAD_VERSION)


def test_what_the_machine_leaves_undefined_is_an_error_here(ready, monkeypatch):
    device, _, _ = ready

    def undefined(*_):
        raise DomainError("An argument outside the domain.")
    monkeypatch.setattr(device._machine, "run", undefined)
    with pytest.raises(DomainError):
        device.write32(CTRL, Ctrl.START)


def test_the_trace_hears_every_instruction(ready, image):
    device, _, _ = ready
    entries = []
    device.trace = entries.append
    device.write32(CTRL, Ctrl.START)
    assert len(entries) == wide(device, "RETIRED")
    assert {entry.index for entry in entries} == set(range(len(image.symbols["task1"])))


@pytest.mark.parametrize("offset", [1, 2, 0x3C, 0xB0, MAP_BYTES, MAP_BYTES - 4, -4])
def test_where_there_is_no_register_nothing_is_read_or_written(offset):
    device = GoldenDevice(NANO)
    assert not any(r.offset <= offset < r.offset + 4 + 4 * r.wide and offset % 4 == 0 for r in REGISTERS)
    before = dict(device._words)
    assert device.read32(offset) == 0 and device.read32(STATUS) == StatusBits.DRAINED | StatusBits.STRAY_ACCESS
    device.write32(CTRL, Ctrl.START)
    assert not device.read32(STATUS) & StatusBits.STRAY_ACCESS, "the next start clears it"
    device.reset()
    device.write32(offset, 1)
    assert device.read32(STATUS) == StatusBits.DRAINED | StatusBits.STRAY_ACCESS
    assert {**device._words, STATUS: 0} == {**before, STATUS: 0}


def test_read_only_registers_are_not_written():
    device = GoldenDevice(NANO)
    for register in REGISTERS:
        if register.access is Access.RO:
            before = device._get(register.name)
            device.write32(register.offset, 0xFFFF_FFFF)
            assert device._get(register.name) in (before, before | StatusBits.STRAY_ACCESS)
            assert device.read32(STATUS) == StatusBits.DRAINED | StatusBits.STRAY_ACCESS


def test_memory_is_aligned_apart_and_given_back():
    device = GoldenDevice(NANO)
    first, second = device.allocate(5000), device.allocate(1)
    assert first.address % 4096 == second.address % 4096 == 0 and second.address >= first.address + 5000
    first.view[:] = 7
    assert not second.view.any()
    device.free()
    assert device.allocate(1).address == first.address
    with pytest.raises(IndexError):
        device._dram.view(second.address, 1)


def test_machines_go_by_name():
    assert GoldenDevice().name == f"golden:{ZCU102.name}"
    for name, config in MACHINES.items():
        assert wide(GoldenDevice(name), "FINGERPRINT") == config.fingerprint
    with pytest.raises(ConfigError, match="There is no machine 'zcu104'; there are nano, small, kv260, zcu102"):
        GoldenDevice("zcu104")


def test_faults_carry_their_register_values():
    fault = IssFault(Status.R_DECERR, 5, "where", 64)
    assert (fault.status, fault.index, fault.address) == (Status.R_DECERR, 5, 64)
