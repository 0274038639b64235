# SPDX-License-Identifier: Apache-2.0
"""The self-test passes on good devices and names what is wrong with others."""

import json
import time

import pytest

from golden.device import GoldenDevice
from golden.spec.machine import MACHINES, NANO
from golden.spec.regs import BY_NAME, Access
from golden.spec.status import Status
from host import driver
from host.diagnosis.selftest import CHECKS, selftest
from host.driver import open_device
from tests.host.support.devices import Failing, Recorded

NAMES = ["identity", "registers", "end-of-job signal", "8-bit jobs", "16-bit jobs", "refusal and recovery"]


def checks(device):
    return {check.name: check for check in selftest(device)}


@pytest.mark.parametrize("machine", ["nano", "zcu102"])
def test_golden_passes_as_any_machine(machine):
    heard = []
    found = selftest(open_device("golden", machine=machine), heard.append)
    assert [check.name for check in found] == NAMES == heard and len(found) == CHECKS
    assert all(check.ok for check in found), found
    assert found[0].said.startswith(f"machine {machine}, ABI version") and found[3].said.endswith(" values exact")


def test_a_board_passes_through_its_files(opened):
    found = checks(opened)
    assert all(check.ok for check in found.values()), found


class Wrong(GoldenDevice):
    """One bit of the output is wrong after each job."""

    def _start(self):
        super()._start()
        address = self._get("OUTPUT_ADDR")
        self._dram.view(address, 3)[2] ^= 1


class Stuck(Recorded):
    """Bit 12 of a register is always zero."""

    def write32(self, offset, value):
        super().write32(offset, value & ~0x1000 if offset == BY_NAME["WEIGHT_LO"].offset else value)


class Mute(GoldenDevice):
    """Writes to the ISR have no effect."""

    def write32(self, offset, value):
        if BY_NAME["ISR"].offset != offset:
            super().write32(offset, value)


def test_a_wrong_bit_is_named_by_token_and_channel():
    found = checks(Wrong(NANO))
    assert [name for name, check in found.items() if not check.ok] == NAMES[3:]
    assert "picture 0: task0 differs first at token 0, channel 1: " in found["8-bit jobs"].said
    assert found["8-bit jobs"].said.endswith("1 of 2,112 values differ (wanted against came).")
    assert "after a refused one is wrong" in found["refusal and recovery"].said


def test_a_stuck_bit_of_a_register_is_named():
    found = checks(Stuck())["registers"]
    assert not found.ok and "The register WEIGHT_LO was set to 0x" in found.said
    assert checks(Mute(NANO))["end-of-job signal"].said.endswith("is the interrupt connected?")


def test_registers_are_left_as_they_were():
    device = GoldenDevice(NANO)
    before = {name: device._get(name) for name in BY_NAME if BY_NAME[name].access is Access.RW}
    assert next(check for check in selftest(device) if check.name == "registers").ok
    device.reset()
    assert before == {name: device._get(name) for name in before}


def test_failing_jobs_are_said_and_the_rest_is_tested():
    board = Failing()
    board.status = Status.R_DECERR
    found = checks(board)
    assert found["identity"].ok and not found["8-bit jobs"].ok and "R_DECERR" in found["16-bit jobs"].said


@pytest.mark.parametrize("register, value, sentence", [
    ("ID", 5, "answers with ID 0x00000005"), ("ABI", 99, "speaks ABI version 99"),
    ("FINGERPRINT", 5, "which is none of the machines nano, ")])
def test_a_device_that_is_another_is_asked_nothing_more(register, value, sentence):
    device = Recorded()
    device._set(register, value)
    found = selftest(device)
    assert [check.name for check in found] == ["identity"] and sentence in found[0].said
    assert not device.writes("CTRL") and not device.writes("PROGRAM_ADDR")


def test_the_command(edge_moe, monkeypatch):
    status, out, err = edge_moe("selftest", "--device", "golden", "--machine", "nano")
    assert status == 0 and out.startswith("device: golden:nano\n") and out.count("\nok ") == CHECKS
    monkeypatch.setattr(driver, "open_device", lambda name, **options: Wrong(NANO))
    status, out, err = edge_moe("selftest", "--device", "sim", "--json")
    found = json.loads(out)
    assert status == 1 and found["ok"] is False and found["clock"] == "assumed 300 MHz"
    assert [check["name"] for check in found["checks"] if not check["ok"]] == NAMES[3:]


@pytest.mark.rtl
def test_the_simulated_nano_board_passes_within_a_minute():
    device = open_device("sim", machine=MACHINES["nano"])
    began = time.monotonic()
    try:
        found = selftest(device)
    finally:
        device.close()
    assert all(check.ok for check in found), found
    assert " cycles" in found[3].said and time.monotonic() - began < 60
