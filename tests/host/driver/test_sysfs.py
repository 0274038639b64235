# SPDX-License-Identifier: Apache-2.0
"""A board is found by name among a stock kernel's other UIO nodes, and its clock in the device tree."""

import struct

import pytest

from host.driver import open_device
from host.driver.device import clock_text
from host.driver.errors import DeviceLost, DeviceNotFound
from host.driver.sysfs import clock_of, find_buffer, find_uio, uio_nodes
from host.driver.uio import UioDevice
from tests.host.support.devices import compiled, picture
from tests.host.support.stand_in import Board, StandIn, lay_out, loaded, monitors, property_of

MONITORS = ", ".join(f"uio{number} (axi-pmon)" for number in range(4))


@pytest.fixture
def stock(tmp_path):
    """A stock kernel's layout: the arguments that find it."""
    files = lay_out(tmp_path)
    monitors(tmp_path)
    return files


def test_the_accelerator_is_found_after_the_performance_monitors(tmp_path):
    files = lay_out(tmp_path)
    with Board(tmp_path) as board:
        monitors(tmp_path)
        device = StandIn(board, **files)
        assert device.name == "uio:uio4"
        wanted = compiled()[0].run(picture(), "task0")
        assert (loaded(device).frame(picture(), "task0").residuals["task0"] == wanted).all()
        device.close()
    for number in range(4):
        assert set((tmp_path / f"dev/uio{number}").read_bytes()) == {0xA5}, "a performance monitor was written"


def test_no_monitor_is_ever_taken_blindly(stock, tmp_path):
    (tmp_path / "sys/class/uio/uio4/name").write_text("dma-pl\n")
    with pytest.raises(DeviceNotFound) as refused:
        UioDevice(**stock)
    assert str(refused.value).startswith(f"No UIO node is called edge-moe; there are {MONITORS}, uio4 (dma-pl). Is the")
    assert str(refused.value).endswith("Else name one, as in uio:NAME. Without a board there is --device golden.")
    for name in ("dma-pl", "uio4"):
        device = UioDevice(name, **stock)
        assert device.name == "uio:uio4"
        device.close()
    with pytest.raises(DeviceLost, match="uio:uio0' answers with ID 0xa5a5a5a5"):
        UioDevice("uio0", clock_hz=1e8, **stock)
    assert set((tmp_path / "dev/uio0").read_bytes()) == {0xA5}, "a performance monitor was written"
    with pytest.raises(DeviceNotFound, match="4 UIO nodes are called 'axi-pmon': uio0 .* Name one: --device uio:uio0"):
        UioDevice("axi-pmon", **stock)
    with pytest.raises(DeviceNotFound, match="No UIO node is called 'uio9'; there are uio0 "):
        UioDevice("uio9", **stock)


@pytest.mark.parametrize("name, compatible", [
    ("edge_moe_0", ""), ("Edge-MoE", ""), ("accelerator", "edge-moe,accelerator-1.0\0generic-uio\0")])
def test_names_and_compatibles_that_are_ours(stock, tmp_path, name, compatible):
    (tmp_path / "sys/class/uio/uio4/name").write_text(name + "\n")
    (tmp_path / "sys/class/uio/uio4/device/of_node/compatible").write_text(compatible)
    assert find_uio(tmp_path / "sys") == "uio4"


def test_two_accelerators_are_asked_about(stock, tmp_path):
    node = tmp_path / "sys/class/uio/uio10"
    node.mkdir()
    (node / "name").write_text("edge-moe\n")
    with pytest.raises(DeviceNotFound, match=r"2 UIO nodes are called edge-moe: uio4 \(edge-moe\), uio10 \(edge-moe\)"):
        find_uio(tmp_path / "sys")
    assert [found.file for found in uio_nodes(tmp_path / "sys")][-2:] == ["uio4", "uio10"], "by number, not by text"


def test_a_machine_without_uio_says_so(tmp_path):
    with pytest.raises(DeviceNotFound, match="is called edge-moe; there are no UIO nodes at all. Is the device-tree"):
        UioDevice(sysfs=str(tmp_path))


# -- buffers

def test_the_only_buffer_is_taken_and_of_several_the_named_one(stock, tmp_path):
    root = tmp_path / "sys/class/u-dma-buf"
    assert find_buffer(tmp_path / "sys") == "udmabuf0"
    (root / "udmabuf1").mkdir()
    with pytest.raises(DeviceNotFound, match="Which u-dma-buf .*There are udmabuf0, udmabuf1. Name one: --buffer udm"):
        find_buffer(tmp_path / "sys")
    assert find_buffer(tmp_path / "sys", "udmabuf1") == "udmabuf1"
    (root / "edge-moe-buffer").mkdir()
    assert find_buffer(tmp_path / "sys") == "edge-moe-buffer"
    with pytest.raises(DeviceNotFound, match="no u-dma-buf buffer called 'udmabuf7'; there are edge-moe-buffer, udm"):
        find_buffer(tmp_path / "sys", "udmabuf7")


def test_no_buffer_at_all_is_said(tmp_path):
    with pytest.raises(DeviceNotFound, match="no u-dma-buf buffer; there are none at all. Is the u-dma-buf module"):
        find_buffer(tmp_path)


# -- the clock

def test_the_clock_is_read_from_the_device_tree(stock, tmp_path):
    property_of(tmp_path, "uio4", "clock-frequency", 53_900_000)
    device = UioDevice(**stock)
    assert device.clock_hz == 53.9e6 and clock_text(device) == "53.9 MHz (clock-frequency in the device tree)"
    device.close()
    device = UioDevice(**stock, clock_hz=100e6)
    assert device.clock_hz == 100e6 and clock_text(device) == "100 MHz (given)"


def test_a_fixed_clock_is_followed(stock, tmp_path):
    (tmp_path / "sys/class/uio/uio4/device/of_node/clock-frequency").unlink()
    property_of(tmp_path, "uio4", "clocks", 7)
    for name, phandle, hz in (("other", 6, 1), ("pl-clock", 7, 250_000_000)):
        node = tmp_path / "sys/firmware/devicetree/base/amba" / name
        node.mkdir(parents=True)
        (node / "phandle").write_bytes(struct.pack(">I", phandle))
        (node / "clock-frequency").write_bytes(struct.pack(">I", hz))
    assert clock_of(tmp_path / "sys", "uio4") == (250e6, "fixed clock in the device tree")


def test_an_assigned_rate_is_believed_and_an_unknown_clock_asked_for(stock, tmp_path):
    (tmp_path / "sys/class/uio/uio4/device/of_node/clock-frequency").write_bytes(b"\0")
    property_of(tmp_path, "uio4", "clocks", 3, 71)  # of the firmware: its rate stands in no file
    with pytest.raises(DeviceNotFound, match="does not tell the clock of uio4 .*: give it, as --clock MHZ or clock_hz"):
        UioDevice(**stock)
    property_of(tmp_path, "uio4", "assigned-clock-rates", 99_999_000)
    assert clock_of(tmp_path / "sys", "uio4") == (99_999_000, "assigned-clock-rates in the device tree")


def test_what_follows_a_colon_names_node_or_machine(stock):
    device = open_device("uio:uio4", **stock)
    assert device.name == "uio:uio4"
    device.close()
    assert open_device("golden:small").name == "golden:small"
    assert clock_text(open_device("golden:small")) == "assumed 300 MHz"
    with pytest.raises(DeviceNotFound, match="'uio:' ends in a colon; a name follows it"):
        open_device("uio:")
