# SPDX-License-Identifier: Apache-2.0
"""Options that find a device: nodes, buffers and clocks, and what they make of milliseconds."""

import pytest

from golden.device import GoldenDevice
from golden.spec.machine import NANO
from host import driver
from host.driver.errors import DeviceNotFound
from tests.host.support.commands import facts, refused


class Timed(GoldenDevice):
    """Golden that counts 3000 cycles for every job."""

    def read32(self, offset):
        return 3000 if offset == 0x100 else super().read32(offset)


@pytest.fixture
def asked(monkeypatch):
    """What the verb asked :func:`host.driver.open_device` for."""
    calls = []

    def open_device(name, **options):
        calls.append((name, {key: value for key, value in options.items() if key != "progress"}))
        return Timed(NANO)
    monkeypatch.setattr(driver, "open_device", open_device)
    return calls


def test_milliseconds_name_their_clock(edge_moe, asked):
    found = facts(edge_moe, "run", "nano.emoe", "cat.png", "--device", "sim")
    assert (found["cycles"], found["milliseconds"], found["clock"]) == (3000, 3000 / 300e6 * 1e3, "assumed 300 MHz")
    found = facts(edge_moe, "run", "nano.emoe", "cat.png", "--device", "sim", "--clock", "53.9")
    assert (found["milliseconds"], found["clock"]) == (3000 / 53.9e6 * 1e3, "53.9 MHz (given)")
    assert asked == [("sim", {"machine": NANO})] * 2


def test_options_reach_the_board(edge_moe, asked):
    facts(edge_moe, "run", "nano.emoe", "cat.png", "--device", "uio")
    facts(edge_moe, "run", "nano.emoe", "cat.png", "--device", "uio:accelerator", "--clock", "100")
    facts(edge_moe, "run", "nano.emoe", "cat.png", "--device", "uio", "--uio", "uio4", "--buffer", "mine")
    assert asked == [("uio", {}), ("uio:accelerator", {"clock_hz": 100e6}), ("uio", {"uio": "uio4", "buffer": "mine"})]


@pytest.mark.parametrize("options, sentence", [
    (("--device", "sim", "--uio", "uio4"), "--uio and --buffer find a board: give them with --device uio, not sim."),
    (("--device", "golden", "--buffer", "mine"), "--uio and --buffer find a board"),
    (("--device", "uio:uio4", "--uio", "uio5"), "--device uio:uio4 and --uio uio5 name two nodes; name one."),
    (("--device", "sim", "--clock", "0"), "--clock is in MHz, more than 0 and less than 10,000, not 0."),
    (("--device", "sim", "--clock", "300e6"), "--clock is in MHz, more than 0 and less than 10,000, not 3e+08."),
    (("--device", "uio", "--clock", "nan"), "--clock is in MHz"),
])
def test_options_that_make_no_sense_are_refused(edge_moe, asked, options, sentence):
    assert sentence in refused(edge_moe, "run", "nano.emoe", "cat.png", *options)
    assert not asked


def test_a_refusal_of_the_board_is_a_sentence(edge_moe, monkeypatch):
    def open_device(name, **options):
        raise DeviceNotFound("No UIO node is called edge-moe; there are uio0 (axi-pmon).")
    monkeypatch.setattr(driver, "open_device", open_device)
    assert "there are uio0 (axi-pmon)." in refused(edge_moe, "run", "nano.emoe", "cat.png", "--device", "uio", status=1)
