# SPDX-License-Identifier: Apache-2.0
"""The roads of PYNQ and XRT run the same jobs as a device here, against stand-ins of the packages."""

import sys
import time
from functools import partial

import numpy as np
import pytest

from golden.spec.regs import MAP_BYTES
from golden.spec.status import Status
from host.diagnosis.selftest import CHECKS, selftest
from host.driver import Device, Session, open_device
from host.driver.device import clock_text
from host.driver.errors import (
    Aborted,
    AccelError,
    DeviceBusy,
    DeviceLost,
    DeviceNotFound,
    DeviceTimeout,
    OutOfMemory,
)
from host.driver.roads import board
from tests.host.support import packages
from tests.host.support.devices import compiled, picture, works

ROADS = {"pynq": ("pynq", packages.pynq, "edge_moe.bit"), "xrt": ("pyxrt", packages.pyxrt, "edge_moe.xclbin")}


@pytest.fixture(params=ROADS)
def road(request, tmp_path, monkeypatch):
    """``road(machine, **what the package is like)``: a function that opens the device; ``.package`` is the package."""
    module, make, file = ROADS[request.param]
    (tmp_path / file).write_bytes(b"")

    def install(machine, **options):
        package = make(machine, **options)
        monkeypatch.setitem(sys.modules, module, package)
        opens = partial(open_device, f"{request.param}:{tmp_path / file}")
        opens.package, opens.kind, opens.file = package, request.param, file
        return opens
    return install


def test_every_program_is_exact(road):
    machine = packages.Machine()
    opens = road(machine)
    with opens() as device:
        assert isinstance(device, Device) and device.name == f"{opens.kind}:{opens.file}"
        session, network = Session(compiled()[1], device), compiled()[0]
        for task in session.image.programs:
            for seed in (1, 2):
                found = session.frame(picture(seed=seed), task)
                for name, residual in found.residuals.items():
                    np.testing.assert_array_equal(residual, network.run(picture(seed=seed), name))
        assert machine.starts == 6 and session.regs["INPUT_ADDR"] % 4096 == 0
    assert opens.package


def test_the_clock_is_the_packages_or_the_one_given(road):
    opens = road(packages.Machine())
    with opens() as device:
        assert clock_text(device) in ("250 MHz (PL clock 0 of the processor, by PYNQ)", "275 MHz (the card's, by XRT)")
    with opens(clock_hz=1e8) as device:
        assert clock_text(device) == "100 MHz (given)"


def test_the_self_test_passes(road):
    with road(packages.Machine())() as device:
        checks = selftest(device)
        assert len(checks) == CHECKS and all(check.ok for check in checks), checks


def test_jobs_that_take_their_time(road):
    with road(packages.Machine(delay=0.1))() as device:
        session, heard = Session(compiled()[1], device), []
        session.frame(picture(), progress=heard.append)
        assert heard == sorted(heard)
        works(session, compiled()[0])


def test_a_job_that_hangs_ends_at_its_limit_or_by_an_abort_and_the_next_is_exact(road):
    machine = packages.Machine()
    with road(machine)(clock_hz=3e5) as device:
        session = Session(compiled()[1], device, job_limit=60_000, bus_limit=100)
        machine.hangs = True
        began = time.monotonic()
        with pytest.raises(DeviceTimeout):
            session.frame(picture())
        assert 0.2 < time.monotonic() - began < 5 and machine.aborts == 1
        session.reset()
        machine.hangs = True
        with pytest.raises((Aborted, DeviceLost)):
            session.frame(picture(), progress=lambda cycles: session.abort())
        session.reset()
        works(session, compiled()[0])


def test_a_refusal_of_the_machine_comes_through(road):
    with road(packages.Machine())() as device:
        session = Session(compiled()[1], device)
        session.regs["READ_HI"] = session.regs["READ_LO"]
        with pytest.raises(AccelError) as caught:
            session.frame(picture())
        assert caught.value.status is Status.RANGE_UNSET


def test_a_second_owner_is_refused_and_the_next_gets_it(road):
    opens = road(packages.Machine())
    with opens() as device:
        with pytest.raises(DeviceBusy, match="belongs to another process, or to another part of this one"):
            opens()
        works(Session(compiled()[1], device), compiled()[0])
    for _ in range(2):
        device.close()
    with pytest.raises(DeviceLost, match="was closed"):
        device.read32(0x10)
    with opens() as device:
        works(Session(compiled()[1], device), compiled()[0])


def test_what_a_crashed_owner_left_running_is_stopped(road):
    machine = packages.Machine()
    machine.hangs = True
    machine.write32(0, 1)
    with road(machine)() as device:
        assert machine.aborts == 1
        works(Session(compiled()[1], device), compiled()[0])


def test_memory_that_is_not_enough_is_reported(road):
    opens = road(packages.Machine())
    opens.package.most = 65536
    with opens() as device, pytest.raises(OutOfMemory, match=r"'nano' needs \d+ bytes of device memory. \d+ bytes do"):
        Session(compiled()[1], device)


def test_what_is_no_accelerator_is_refused(road):
    class Other(packages.Machine):
        def read32(self, offset):
            return 0xDEAD if offset == 0x10 else super().read32(offset)
    opens = road(Other())
    for _ in range(2):
        with pytest.raises(DeviceLost, match="answers with ID 0x0000dead"):
            opens()


def test_missing_packages_and_files_are_refused_by_name(road, monkeypatch):
    opens = road(packages.Machine())
    monkeypatch.setitem(sys.modules, ROADS[opens.kind][0], None)
    with pytest.raises(DeviceNotFound, match="PYNQ is not installed for this Python|pyxrt cannot be imported"):
        opens()
    with pytest.raises(DeviceNotFound, match="is named by its bitstream, as in --device"):
        open_device(opens.kind)
    with pytest.raises(DeviceNotFound, match="none.bit cannot be read: No such file"):
        open_device(f"{opens.kind}:none.bit")


# -- PYNQ alone

@pytest.fixture
def bitstream(tmp_path, monkeypatch):
    def install(name="edge_moe.bit", **options):
        (tmp_path / name).write_bytes(b"")
        machine = packages.Machine(delay=options.pop("delay", 0.0))
        package = packages.pynq(machine, **options)
        monkeypatch.setitem(sys.modules, "pynq", package)
        return package, partial(open_device, f"pynq:{tmp_path / name}")
    return install


def test_pynq_interrupt_ends_the_wait(bitstream, monkeypatch):
    monkeypatch.setattr(board, "POLL_SECONDS", 30.0)  # polling may not hide a lost interrupt
    package, opens = bitstream(delay=0.05)
    with opens() as device:
        session = Session(compiled()[1], device)
        began = time.monotonic()
        for seed in range(3):
            session.frame(picture(seed=seed))
        assert time.monotonic() - began < 15 and package.interrupts[0].waits == 3
        works(session, compiled()[0])


def test_pynq_interrupt_that_is_lost_is_found_by_polling(bitstream):
    package, opens = bitstream(delay=0.05)
    with opens() as device:
        package.interrupts[0].event.set = lambda: None
        session, began = Session(compiled()[1], device), time.monotonic()
        for _ in range(2):
            works(session, compiled()[0])
        assert time.monotonic() - began < 10 and package.interrupts[0].waits == 1


def test_pynq_overlay_without_an_interrupt_is_polled(bitstream):
    package, opens = bitstream(delay=0.05, pins=())
    with opens() as device:
        works(Session(compiled()[1], device), compiled()[0])
    assert not package.interrupts


def test_pynq_inside_a_notebook_whose_thread_runs_a_loop(bitstream):
    import asyncio
    _, opens = bitstream(delay=0.05)

    async def cell():
        with opens() as device:
            works(Session(compiled()[1], device), compiled()[0])
    asyncio.run(cell())


def test_pynq_blocks_are_found_by_name_type_or_choice(bitstream):
    def block(kind):
        return {"phys_addr": packages.BASE, "addr_range": MAP_BYTES, "type": kind}
    for blocks, options, words in [
            ({"a": block("x:y:edge_moe:1.0")}, {}, None), ({"edge-moe@1": block("x")}, {}, None),
            ({"a": block("x:y:edge_moe:1.0"), "b": block("x:y:edge_moe:1.0")}, {"ip": "b"}, None),
            ({"a": block("x:y:edge_moe:1.0"), "b": block("x:y:edge_moe:1.0")}, {}, "2 blocks .* called edge-moe; "),
            ({"dma": block("x:ip:axi_dma:7")}, {}, "No blocks in .* called edge-moe; there are dma"),
            ({"dma": block("x:ip:axi_dma:7")}, {"ip": "moe"}, "No blocks in .* called 'moe'")]:
        _, opens = bitstream(blocks=blocks, pins=())
        if words is None:
            opens(**options).close()
        else:
            with pytest.raises(DeviceNotFound, match=words):
                opens(**options)


def test_pynq_bitstream_that_cannot_be_loaded_is_reported(bitstream):
    package, opens = bitstream("broken.bit")
    with pytest.raises(DeviceNotFound, match="cannot load .*: RuntimeError: Unable to parse.* broken.hwh must lie"):
        opens()
    _, opens = bitstream()
    opens(download=False).close()
    assert package.loaded[0][1] is True


# -- XRT alone

@pytest.fixture
def card(tmp_path, monkeypatch):
    def install(**options):
        (tmp_path / "edge_moe.xclbin").write_bytes(b"")
        package = packages.pyxrt(packages.Machine(), **options)
        monkeypatch.setitem(sys.modules, "pyxrt", package)
        return package, partial(open_device, f"xrt:{tmp_path / 'edge_moe.xclbin'}")
    return install


def test_xrt_without_register_access_is_refused_with_its_reason(card):
    _, opens = card(registers=False)
    with pytest.raises(DeviceNotFound, match=r"cannot read registers: .* XRT 2.15.* issue 7863.\. Take XRT 2.14"):
        opens()


def test_xrt_cards_kernels_and_banks(card):
    package, opens = card(kernels=("edge_moe", "edge_moe_2", "vadd"))
    with pytest.raises(DeviceNotFound, match="2 kernels in .* called edge-moe; there are edge_moe, edge_moe_2, vadd"):
        opens()
    with opens(kernel="edge_moe_2", memory=3) as device:
        Session(compiled()[1], device)
    assert {buffer.group for buffer in package.opened if not isinstance(buffer, str)} == {3}
    with pytest.raises(DeviceNotFound, match="uses the memory banks 2, 3, not 1"):
        opens(kernel="edge_moe", memory=1)
    with pytest.raises(DeviceNotFound, match="cannot load .* into card 1: Could not open device"):
        opens(card=1)
    package.busy = True
    with pytest.raises(DeviceBusy, match="does not lend edge_moe of card 0 to this process alone: failed to open ip"):
        opens(kernel="edge_moe")
