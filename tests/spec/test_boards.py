# SPDX-License-Identifier: Apache-2.0
"""Boards are data: every file is read, complete, cited; a bad one is refused in a sentence."""

import pytest

from golden.spec.boards import BOARD_OF, BOARDS, FOLDER, BoardError, read_board
from golden.spec.boards.platform import ZynqPlatform
from golden.spec.machine import LINE, MACHINES

GOOD = (FOLDER / "zcu102.toml").read_text()


def test_every_machine_has_a_board_with_room_for_its_ports():
    assert set(BOARD_OF) == set(MACHINES) and set(BOARD_OF.values()) <= set(BOARDS)
    for machine, board in ((MACHINES[machine], BOARDS[board]) for machine, board in BOARD_OF.items()):
        assert machine.ports + 1 <= board.ports
        assert machine.port_bytes <= board.port_bytes and machine.max_burst <= board.max_burst
    for board in BOARDS.values():
        assert MACHINES[board.platform.machine].ports + 1 <= board.ports


def test_the_hbm_of_the_u280():
    """32 ports of 256 bits are AXI3; the machine's two carry a line a cycle."""
    board, machine = BOARDS["u280"], MACHINES["u280"]
    assert (board.port_bytes, board.max_burst) == (machine.port_bytes, machine.max_burst) == (32, 16)
    assert machine.weight_bytes_per_cycle == 2 * LINE


def test_boards_are_what_their_files_say():
    assert set(BOARDS) >= {"zcu102", "kv260", "zcu104", "u280"}
    for name, board in BOARDS.items():
        assert board == read_board(FOLDER / f"{name}.toml") and board.name == name
        assert min(board.lut, board.ff, board.dsp, board.bram36, board.ports, board.dram_latency_ns) > 0
        assert board.port_bytes in (16, 32) and board.max_burst in (16, 256)
        assert 0 < board.refresh_ns < board.refresh_period_ns
        assert board.ff == 2 * board.lut  # of every UltraScale+ slice: 8 LUTs, 16 flip-flops
    assert BOARDS["zcu102"].dram_bytes_per_cycle == pytest.approx(17.064e9 / 300e6)
    assert BOARDS["zcu102"].cycles(400) == 120


def test_a_family_lists_every_port_once():
    for board in BOARDS.values():
        if isinstance(board.platform, ZynqPlatform):
            family = board.platform.facts
            assert sorted(family.order) == sorted(family.gp) and len(family.order) == board.ports
            assert {port for group in family.shared for port in group} <= set(family.gp)
            assert len(set(family.gp.values())) == len(family.gp)


@pytest.mark.parametrize("before, after, said", [
    ("dsp = 2_520", "", "dsp"), ("dsp = 2_520", 'dsp = "many"', "dsp"), ("dsp = 2_520", "dps = 2_520", "dsp"),
    ("dsp = 2_520", "dsp = 2_520\ncolour = 1", "colour"), ('dsp = "DS891, ZU9EG"', "", "dsp"),
    ("dsp = 2_520", "dsp = ", "TOML"), ("[platform]", "[plattform]", "platform"),
    ('family = "zynq_ultrascale"', 'family = "zynq"', "platform.family, one of zynq_ultrascale, alveo, not 'zynq'"),
    ('loader = "fpgautil"', 'loader = "tar"', "platform.loader, one of dfx-mgr, fpgautil, not 'tar'"),
    ("dram_bytes = 4_294_967_296", 'dram_bytes = "4 GB"', "[platform], must give dram_bytes"),
    ("notes = []", "note = []", "[platform], must give notes"), ("notes = []", "notes = []\nvolts = 1", "gives volts"),
    ('dram_bytes = "UG1182: 4 GB of DDR4 on the processing system"', "", "sources where dram_bytes"),
])
def test_a_bad_file_is_refused_by_name(before, after, said, tmp_path):
    path = tmp_path / "mine.toml"
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(BoardError, match="mine.toml") as caught:
        read_board(path)
    assert said in str(caught.value)
