# SPDX-License-Identifier: Apache-2.0
"""Kits for tests, and the tool that runs them."""

from pathlib import Path

import pytest

from golden.spec.boards import BOARDS, Board
from golden.spec.boards.platform import ZynqPlatform
from hw.platform.choice import choice
from hw.platform.kit import write
from hw.verilog import wrapper
from tests.hw.platform.stand_ins.interpreters import interpreters
from tests.hw.platform.stand_ins.vivado import Vivado

needs_tcl = pytest.mark.skipif(not interpreters(), reason="there is neither tkinter, whose Tcl interpreter runs the "
                               "scripts, nor tclsh")
ZYNQ = [name for name, board in BOARDS.items() if isinstance(board.platform, ZynqPlatform)]


def kit(folder: Path, board: str | Board, **options) -> Path:
    """A kit whose Verilog is the top module only, which has all ports: the rest takes minutes for large machines."""
    chosen = choice(BOARDS[board] if isinstance(board, str) else board, **options)
    write(chosen, folder, wrapper(chosen.machine))
    return folder


def spoil(path: Path, before: str, after: str) -> None:
    """Plant a defect: ``after`` in the place of ``before``, which the file has."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def built(folder: Path, board: str | Board, **options) -> Vivado:
    """The tool after build.tcl. Raises Refused."""
    tool = Vivado(BOARDS[board] if isinstance(board, str) else board, **options)
    tool.tcl.run(folder / "build.tcl")
    return tool
