# SPDX-License-Identifier: Apache-2.0
"""Registers by name: offsets of the spec, 64-bit ones as two accesses low word first, nothing impossible written."""

import pytest

from golden.spec.regs import BY_NAME, DRAIN_LIMITS, REGISTERS, Access, Ctrl
from host.driver.errors import DeviceLost
from host.driver.registers import GRACE, Registers, rest


class Words:
    """A device of bare words that writes down what is done to it."""

    name = "words"

    def __init__(self, **values):
        self.words, self.seen, self.ends, self.heard = {}, [], True, None
        for name, value in values.items():
            register = BY_NAME[name]
            self.words[register.offset] = value & 0xFFFF_FFFF
            self.words[register.offset + 4] = value >> 32

    def read32(self, offset):
        self.seen.append(("read", offset))
        return self.words.get(offset, 0)

    def write32(self, offset, value):
        assert 0 <= value < 1 << 32
        self.seen.append(("write", offset, value))
        if offset == BY_NAME["ISR"].offset:
            self.words[offset] = self.words.get(offset, 0) ^ value
        elif offset:
            self.words[offset] = value

    def wait(self, limit, progress):
        self.seen.append(("wait", limit))
        if self.heard is not None:
            progress(self.heard)
        if self.ends:
            self.words[BY_NAME["CTRL"].offset] = Ctrl.IDLE
            self.words[BY_NAME["ISR"].offset] = 4
        return self.ends


@pytest.mark.parametrize("register", REGISTERS, ids=lambda r: r.name)
def test_every_register_is_read_whole_low_word_first(register):
    value = 0x0123_4567_89AB_CDEF if register.wide else 0x89AB_CDEF
    device = Words(**{register.name: value})
    assert Registers(device)[register.name] == value
    assert device.seen == [("read", register.offset + 4 * high) for high in range(1 + register.wide)]


@pytest.mark.parametrize("register", REGISTERS, ids=lambda r: r.name)
def test_every_writable_register_is_written_whole(register):
    device = Words()
    value = 0x0123_4567_89AB_CDEF if register.wide else 0x89AB_CDEF
    if register.access is Access.RO:
        with pytest.raises(ValueError, match=f"Register {register.name} .ro"):
            Registers(device)[register.name] = 1
        assert not device.seen
        return
    Registers(device)[register.name] = value
    wanted = [("write", register.offset, 0x89AB_CDEF), ("write", register.offset + 4, 0x0123_4567)]
    assert device.seen == wanted[:1 + register.wide]


@pytest.mark.parametrize("name, value", [("JOB_LIMIT", 1 << 32), ("JOB_LIMIT", -1), ("READ_LO", 1 << 64)])
def test_values_that_do_not_fit_are_refused(name, value):
    device = Words()
    with pytest.raises(ValueError, match=f"Register {name} .* cannot be set to"):
        Registers(device)[name] = value
    assert not device.seen


def test_unknown_names_are_no_registers():
    with pytest.raises(KeyError):
        Registers(Words())["CYCLE"]


def test_counters_are_those_of_the_spec():
    found = Registers(Words(CYCLES=7 << 32, WEIGHT_READ3=9)).counters()
    assert found["CYCLES"] == 7 << 32 and found["WEIGHT_READ3"] == 9 and len(found) == 14


def test_an_idle_machine_is_not_aborted():
    device = Words(CTRL=Ctrl.IDLE, ISR=5)
    assert Registers(device).abort()
    assert device.words[BY_NAME["ISR"].offset] == 0
    assert [entry for entry in device.seen if entry[0] != "read"] == [("write", BY_NAME["ISR"].offset, 5)]


@pytest.mark.parametrize("ends", [True, False])
def test_an_abort_waits_for_the_drain_a_bounded_time(ends):
    device = Words(CTRL=0, ISR=1, BUS_LIMIT=500)
    device.ends = ends
    assert Registers(device).abort() is ends
    acts = [entry for entry in device.seen if entry[0] != "read"]
    isr = BY_NAME["ISR"].offset
    assert acts == [("write", isr, 1), ("write", 0, Ctrl.ABORT), ("wait", rest(500)),
                    ("write", isr, 4 if ends else 0)]
    assert device.words[isr] == 0 and rest(500) == 1000 * (1 + DRAIN_LIMITS) + GRACE


def test_an_abort_does_not_wait_for_a_machine_that_was_reset():
    device = Words(CTRL=0, BUS_LIMIT=500)
    device.heard, write = 1, device.write32

    def aborted(offset, value):
        write(offset, value)
        if not offset:
            device.words = {0: Ctrl.IDLE}
    device.write32 = aborted
    device.ends = False
    assert Registers(device).abort()


@pytest.mark.parametrize("ctrl, isr, lost", [(Ctrl.IDLE, 0, True), (Ctrl.IDLE, 2, True), (Ctrl.IDLE, 1, False),
                                             (Ctrl.IDLE, 4, False), (Ctrl.START, 0, False)])
def test_a_wait_ends_when_there_is_nothing_to_wait_for(ctrl, isr, lost):
    device, heard = Words(CTRL=ctrl, ISR=isr), []
    device.heard = 77
    if lost:
        with pytest.raises(DeviceLost, match="'words' neither runs the job .* it was reset"):
            Registers(device).wait(1000, heard.append)
    else:
        Registers(device).wait(1000, heard.append)
    assert heard == ([] if lost else [77])


def test_another_thing_than_the_accelerator_is_refused():
    with pytest.raises(DeviceLost, match="'words' answers with ID 0x00000bad, not 0x454d4f45"):
        Registers(Words(ID=0xBAD)).require_id()
