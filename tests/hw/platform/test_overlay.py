# SPDX-License-Identifier: Apache-2.0
"""The overlay compiles, applies to a tree like that of the board, and is what the driver looks for; ``shell.json``."""

import json
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from golden.spec.boards import BOARDS
from golden.spec.regs import MAP_BYTES
from host.driver.sysfs import clock_of, find_buffer, find_uio
from hw.platform.choice import choice
from hw.platform.kit import files
from tests.hw.platform.support import ZYNQ

pytestmark = pytest.mark.skipif(not (shutil.which("dtc") and shutil.which("fdtoverlay")),
                                reason="dtc and fdtoverlay are not on PATH; install device-tree-compiler.")
BASE = """/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    fpga_full: fpga-region { compatible = "fpga-region"; #address-cells = <2>; #size-cells = <2>; ranges; };
    zynqmp_clk: clock-controller { #clock-cells = <1>; };
    zynqmp_reset: reset-controller { #reset-cells = <1>; };
    amba: axi {
        compatible = "simple-bus";
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
        gic: interrupt-controller@f9010000 {
            compatible = "arm,gic-400";
            #address-cells = <0>;
            #interrupt-cells = <3>;
            interrupt-controller;
            reg = <0x0 0xf9010000 0x0 0x10000>;
        };
    };
};
"""
"""The labels of Linux's zynqmp.dtsi that the overlay refers to."""


def call(*command) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr


def applied(folder: Path, text: str) -> dict[str, dict[str, bytes]]:
    """Properties of each node of the board's tree after the overlay was applied."""
    (folder / "base.dts").write_text(BASE)
    (folder / "overlay.dts").write_text(text)
    for name, out in (("base", "base.dtb"), ("overlay", "overlay.dtbo")):
        call("dtc", "-@", "-I", "dts", "-O", "dtb", "-o", folder / out, folder / f"{name}.dts")
    call("fdtoverlay", "-i", folder / "base.dtb", "-o", folder / "board.dtb", folder / "overlay.dtbo")
    return tree((folder / "board.dtb").read_bytes())


def tree(blob: bytes) -> dict[str, dict[str, bytes]]:
    """A flattened device tree (Devicetree Specification 0.4, section 5): properties by the path of their node."""
    magic, _, at, strings = struct.unpack_from(">4I", blob)
    assert magic == 0xD00DFEED
    found, path = {}, []
    while True:
        token, at = struct.unpack_from(">I", blob, at)[0], at + 4
        if token == 1:
            name = blob[at:blob.index(0, at)].decode()
            path.append(name)
            found["/".join(path) or "/"] = {}
            at += (len(name) + 4) // 4 * 4
        elif token == 2:
            path.pop()
        elif token == 3:
            size, offset = struct.unpack_from(">2I", blob, at)
            key = blob[strings + offset:blob.index(0, strings + offset)].decode()
            found["/".join(path) or "/"][key] = blob[at + 8:at + 8 + size]
            at += 8 + (size + 3) // 4 * 4
        elif token == 9:
            return found


def cells(value: bytes) -> list[int]:
    return list(struct.unpack(f">{len(value) // 4}I", value))


@pytest.fixture(params=ZYNQ)
def board(request):
    return BOARDS[request.param]


def test_it_applies_to_the_board_and_says_what_the_design_has(board, tmp_path):
    chosen, family = choice(board), board.platform.facts
    nodes = applied(tmp_path, files(chosen)["edge_moe.dts"])
    unit = nodes["/axi/edge-moe@a0000000"]
    assert cells(unit["reg"]) == [0, 0xA000_0000, 0, 4096] and MAP_BYTES <= 4096
    assert cells(unit["interrupts"]) == [0, 89, 4]
    assert unit["interrupt-parent"] == nodes["/axi/interrupt-controller@f9010000"]["phandle"]
    assert b"generic-uio" in unit["compatible"].split(b"\0")
    clock = nodes["/fpga-region/clocking0"]
    assert cells(clock["assigned-clocks"]) == [*cells(nodes["/clock-controller"]["phandle"]), 71]
    assert cells(clock["assigned-clock-rates"]) == cells(unit["clock-frequency"]) == [chosen.clock_hz]
    pairs = cells(nodes["/fpga-region/afi0"]["config-afi"])
    numbers = {family.gp[port] for port in chosen.memory.values()}
    assert set(zip(pairs[::2], pairs[1::2], strict=True)) == {
        *((2 * n + side, 0) for n in numbers for side in (0, 1)), (14, 0)}
    assert nodes["/fpga-region"]["firmware-name"] == b"edge_moe.bit.bin\0"


def test_the_driver_finds_what_it_makes(board, tmp_path):
    chosen = choice(board, clock_hz=250_000_000)
    nodes = applied(tmp_path, files(chosen)["edge_moe.dts"])
    uio, node = tmp_path / "class/uio/uio4", nodes["/axi/edge-moe@a0000000"]
    (uio / "device/of_node").mkdir(parents=True)
    (uio / "name").write_text("edge-moe\n")
    for key, value in node.items():
        (uio / "device/of_node" / key).write_bytes(value)
    for n in range(4):
        (tmp_path / f"class/uio/uio{n}").mkdir()
        (tmp_path / f"class/uio/uio{n}/name").write_text("axi-pmon\n")
    buffer = nodes["/axi/edge-moe-buffer"]
    for name in (buffer["device-name"].rstrip(b"\0").decode(), "udmabuf0"):
        (tmp_path / "class/u-dma-buf" / name).mkdir(parents=True)
    assert find_uio(tmp_path) == "uio4"
    assert clock_of(tmp_path, "uio4") == (250e6, "clock-frequency in the device tree")
    assert find_buffer(tmp_path) == "edge-moe-buffer" and buffer["compatible"] == b"ikwzm,u-dma-buf\0"
    assert cells(buffer["size"]) == [chosen.buffer_bytes]


def test_a_buffer_of_four_gigabytes_and_more_takes_two_cells(tmp_path):
    large = replace(BOARDS["zcu102"], platform=replace(BOARDS["zcu102"].platform, dram_bytes=8 << 30))
    nodes = applied(tmp_path, files(choice(large, buffer_bytes=(5 << 30) + 1))["edge_moe.dts"])
    assert cells(nodes["/axi/edge-moe-buffer"]["size"]) == [1, (1 << 30) + 4096]


@pytest.mark.parametrize("before, after, said", [
    ("&amba", "&ambu", "FDT_ERR_NOTFOUND"), ("<&gic>", "<&gci>", "FDT_ERR_NOTFOUND"),
    ("clocking0 {", "clocking0 ", "syntax error"), ("#size-cells = <2>;", "#size-cells = <2>", "syntax error"),
    ("0x0 0x1000>", "0x1000>", "invalid length"),
])
def test_a_planted_defect_is_found(before, after, said, tmp_path):
    text = files(choice(BOARDS["kv260"]))["edge_moe.dts"]
    assert before in text
    with pytest.raises(AssertionError, match=said):
        applied(tmp_path, text.replace(before, after))


def test_the_kria_application_is_loaded_whole():
    assert json.loads(files(choice(BOARDS["kv260"]))["shell.json"]) == {"shell_type": "XRT_FLAT", "num_slots": "1"}
    assert "shell.json" not in files(choice(BOARDS["zcu102"]))
    assert re.search("loadapp edge_moe", files(choice(BOARDS["kv260"]))["README.md"])
