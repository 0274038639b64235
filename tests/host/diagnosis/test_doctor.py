# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of boards on which something is missing, laid out in files."""

import json
import os
import subprocess
import sys

import pytest

from golden.spec.machine import PAGE
from host.driver import Session, doctor
from host.driver.doctor import Place, examine
from host.driver.layout import memory_need
from tests.host.support.devices import Recorded, compiled
from tests.host.support.stand_in import lay_out, monitors

NAMES = ["Python", "numpy", "bitstream", "UIO node", "registers", "clock", "u-dma-buf", "CMA"]
MEMINFO = "MemTotal:        4039168 kB\nCmaTotal:         262144 kB\nCmaFree:          245760 kB\n"


@pytest.fixture
def root(tmp_path):
    """A board on which everything is well."""
    lay_out(tmp_path)
    monitors(tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "sys/class/fpga_manager/fpga0").mkdir(parents=True)
    (tmp_path / "sys/class/fpga_manager/fpga0/state").write_text("operating\n")
    (tmp_path / "sys/class/uio/uio4/maps/map0/addr").write_text("0x00000000a0000000\n")
    return tmp_path


def place(root, **options):
    return Place(root / "sys", root / "dev", root / "proc", **options)


def said(root, name, image=None, **options):
    line = next(line for line in examine(place(root, **options), image) if line.name == name)
    return line.ok, line.said


def test_a_board_that_is_well(root):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    lines = examine(place(root), compiled()[1])
    assert [line.name for line in lines] == NAMES and all(line.ok for line in lines), lines
    found = {line.name: line.said for line in lines}
    assert found["UIO node"] == "uio4 (edge-moe)" and found["registers"] == "512 bytes at 0xa0000000"
    assert found["clock"] == "300 MHz (clock-frequency in the device tree)" and found["bitstream"] == "loaded"
    assert found["u-dma-buf"] == "udmabuf0, 1.0 MiB" and found["CMA"].startswith("240.0 MiB of 256.0 MiB free, 0.")
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name, file, text, sentence", [
    ("bitstream", "sys/class/fpga_manager/fpga0/state", "unknown\n", "fpga0 is in state 'unknown': load the bitstream"),
    ("UIO node", "sys/class/uio/uio4/name", "other\n", "No UIO node is called edge-moe; there are uio0 (axi-pmon)"),
    ("registers", "sys/class/uio/uio4/maps/map0/size", "0x100\n", "tells 256 bytes; the accelerator has 512: is reg"),
    ("registers", "sys/class/uio/uio4/maps/map0/size", "", "map0/size does not tell a number"),
    ("clock", "sys/class/uio/uio4/device/of_node/clock-frequency", "", "clock of uio4: give its node clock-frequency"),
    ("u-dma-buf", "sys/class/u-dma-buf/udmabuf0/size", "0\n", "udmabuf0 is empty: load u-dma-buf with a size, as"),
    ("u-dma-buf", "sys/class/u-dma-buf/udmabuf0/size", "65536\n", "udmabuf0 has 0.1 MiB; the program of 'nano' needs"),
])
def test_what_is_wrong_is_said_with_what_to_do(root, name, file, text, sentence):
    (root / file).write_text(text)
    ok, words = said(root, name, compiled()[1])
    assert not ok and sentence in words and words.endswith((".", "?")), words


@pytest.mark.parametrize("name, file, sentence", [
    ("UIO node", "dev/uio4", "There is no"), ("u-dma-buf", "dev/udmabuf0", "There is no"),
    ("u-dma-buf", "sys/class/u-dma-buf/udmabuf0/sync_for_cpu", "This u-dma-buf is too old"),
])
def test_a_missing_file_is_said(root, name, file, sentence):
    (root / file).unlink()
    ok, words = said(root, name)
    assert not ok and sentence in words, words


def test_missing_permissions_name_the_udev_rule(root, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: "dev" not in str(path).removeprefix(str(root))[:5])
    for name, rule in (("UIO node", 'SUBSYSTEM=="uio", MODE'), ("u-dma-buf", 'SUBSYSTEM=="u-dma-buf", MODE')):
        ok, words = said(root, name)
        assert not ok and "may not be read and written. Run as root, or give this user access" in words
        assert rule in words


def test_memory_of_the_kernel_is_weighed_against_the_program(root):
    image = compiled()[1]
    (root / "sys/class/u-dma-buf/udmabuf0/size").write_text(f"{PAGE}\n")
    (root / "proc/meminfo").write_text("CmaTotal: 128 kB\nCmaFree: 0 kB\n")
    assert said(root, "CMA", image)[1].endswith("boot with cma=16M on the kernel's command line.")
    (root / "proc/meminfo").write_text("CmaTotal: 65536 kB\nCmaFree: 64 kB\n")
    ok, words = said(root, "CMA", image)
    assert not ok and "0.1 MiB of 64.0 MiB are free" in words and words.endswith("or boot with cma=112M.")
    (root / "sys/class/u-dma-buf/udmabuf0/size").write_text(f"{1 << 20}\n")
    assert said(root, "CMA", image)[0], "the buffer has been taken out of it already"
    (root / "proc/meminfo").write_text("MemTotal: 5 kB\n")
    assert said(root, "CMA") == (True, "this kernel does not tell")
    assert said(root, "CMA", image)[1].startswith("this kernel does not tell; 0.")


def test_old_versions_are_said(root, monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (4, 0))
    monkeypatch.setattr(doctor, "OLDEST_NUMPY", (9, 0))
    assert said(root, "Python")[1].endswith("install 4.0 or later.") and not said(root, "numpy")[0]


def test_a_machine_that_is_no_board(tmp_path):
    lines = {line.name: line for line in examine(place(tmp_path))}
    assert not lines["UIO node"].ok and "there are no UIO nodes at all" in lines["UIO node"].said
    assert not lines["u-dma-buf"].ok and lines["bitstream"].ok and lines["CMA"].ok
    for name in ("registers", "clock"):
        assert lines[name].said == "Nothing to look at without the UIO node: see its line."
    need = sum(memory_need(compiled()[1]))
    assert said(tmp_path, "u-dma-buf", compiled()[1])[1].endswith(f"MiB, at least udmabuf0={need}.")


def test_what_a_program_needs_is_what_a_session_takes():
    for plan in ("fast", "accurate"):
        image, sizes, board = compiled(plan=plan)[1], [], Recorded()
        allocate = board.allocate
        board.allocate = lambda size, sizes=sizes, allocate=allocate: (sizes.append(size), allocate(size))[1]
        Session(image, board)
        assert tuple(sizes) == memory_need(image)


# -- the commands

def test_the_command_says_it_all(edge_moe, root, tmp_path):
    (tmp_path / "nano.emoe").write_bytes(compiled()[1].to_bytes())
    status, out, err = edge_moe("doctor", tmp_path / "nano.emoe", "--root", root)
    assert (status, err) == (0, "") and [line.split(":")[0].split(None, 1)[1] for line in out.splitlines()] == NAMES
    (root / "dev/uio4").unlink()
    status, out, _ = edge_moe("doctor", "--root", root, "--clock", "100")
    assert status == 1 and "to do   UIO node: There is no" in out and "ok      clock: 100 MHz (given)" in out
    status, out, _ = edge_moe("doctor", "--root", root, "--json")
    found = json.loads(out)
    assert status == 1 and found["ok"] is False and [line["name"] for line in found["lines"]] == NAMES


def test_the_board_itself_needs_numpy_only(tmp_path):
    (tmp_path / "nano.emoe").write_bytes(compiled()[1].to_bytes())
    code = ("import sys; sys.modules.update(dict.fromkeys(['torch', 'typer', 'rich', 'safetensors', 'matplotlib'])); "
            "from host.driver.doctor import main; sys.exit(main(sys.argv[1:]))")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "nano.emoe"], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode in (0, 1) and done.stderr == "" and len(done.stdout.splitlines()) == len(NAMES)
