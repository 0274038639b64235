# SPDX-License-Identifier: Apache-2.0
"""What a kit tells its user: the next command, the tool's version, that no vendor tool has run it; and the command
that writes kits."""

import re

import pytest

from golden.spec.boards import BOARDS
from golden.spec.machine import NANO
from hw.platform.__main__ import main
from hw.platform.choice import choice
from hw.platform.kit import files
from hw.platform.readme import LOAD
from hw.verilog import wrapper
from tests.hw.platform.support import ZYNQ


@pytest.mark.parametrize("board", BOARDS)
def test_every_file_says_that_no_tool_has_run_it(board):
    found = files(choice(BOARDS[board]))
    for name, text in found.items():
        if name.endswith((".tcl", ".xdc", ".cfg")):
            head = text[:600]
            assert "has not been run in the vendor's tool" in head and "SPDX-License-Identifier: Apache-2.0" in head
    assert "**No vendor tool has run this.**" in found["README.md"]
    assert "No board has loaded it" in found.get("edge_moe.dts", "No board has loaded it")


@pytest.mark.parametrize("board", BOARDS)
def test_the_readme_gives_the_next_command_and_the_facts(board):
    chosen = choice(BOARDS[board])
    text = files(chosen)["README.md"]
    assert "vivado -mode batch -source build.tcl" in text and "2023.2" in text and len(text.splitlines()) <= 40
    assert f"0x{chosen.machine.fingerprint:016x}" in text and "300 MHz" in text and "{" not in text
    for note in BOARDS[board].platform.notes:
        assert note in text
    if board == "u280":
        assert "16 beats of 256 bits (512 bytes)" in text
    else:
        assert LOAD[BOARDS[board].platform.loader] in text and "HP1 and HP2 share a way to the DRAM" in text
        assert "16 beats of 128 bits (256 bytes)" in text


def test_scripts_name_no_board():
    """What differs from board to board is in facts.tcl, README, overlay and link.cfg."""
    same = {"package_ip.tcl", "build.tcl", "edge_moe.xdc"}
    kits = [files(choice(BOARDS[board])) for board in ZYNQ]
    assert all(kits[0][name] == other[name] for name in same for other in kits)
    words = "|".join([*BOARDS, "HP[0-3]", "HPC[01]", "0xA0", "xck26", "xczu", "m_axi_[a-z]"])
    for name in same:
        assert not re.search(words, kits[0][name])


NEWER = (r"(?:^|[\[{;])\s*(?:lmap|try|throw|tailcall|coroutine|yield|yieldto|zlib|nextto|oo::\w+|string\s+cat|"
         r"dict\s+map|file\s+tempfile|interp\s+cancel|chan\s+pipe|info\s+coroutine|array\s+for|lpop|ledit|lseq)\b")
"""Commands of Tcl 8.6 and later; the interpreter of the tests has them, Vivado's Tcl is 8.5."""


@pytest.mark.parametrize("board", BOARDS)
def test_scripts_are_tcl_8_5(board):
    assert re.search(NEWER, "set a [lmap x $y {}]") and re.search(NEWER, "    try {", re.MULTILINE)
    for name, text in files(choice(BOARDS[board])).items():
        if name.endswith(".tcl"):
            assert not re.search(NEWER, re.sub(r"(?m)^\s*#.*$", "", text), re.MULTILINE), name


@pytest.mark.parametrize("words, said", [
    (["--board", "pynq-z2"], "invalid choice"), (["--board", "kv260", "--clock", "1"], "The clock must be 25 to 500"),
    (["--board", "kv260", "--machine", "tiny"], "There is no machine 'tiny'"), ([], "--board"),
    (["--board", "kv260", "--buffer", "0"], "whole pages"),
    (["--board", "kv260", "-o", __file__], "must name a folder"),
])
def test_the_command_refuses_in_a_sentence(words, said, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert said in capsys.readouterr().err


def test_the_command_writes_a_kit_and_says_what_next(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hw.platform.__main__.shipped_verilog", wrapper)  # the whole machine takes half a minute
    main(["--board", "zcu104", "--machine", "nano", "--clock", "187.5", "--buffer", "64", "-o", str(tmp_path / "a/b")])
    assert "vivado -mode batch -source build.tcl" in capsys.readouterr().out
    assert (tmp_path / "a/b/edge_moe.v").read_text() == wrapper(NANO)
    assert "variable clock_hz 187500000" in (tmp_path / "a/b/facts.tcl").read_text()
    assert "size = <0x4000000>" in (tmp_path / "a/b/edge_moe.dts").read_text()
