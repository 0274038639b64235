# SPDX-License-Identifier: Apache-2.0
"""A board made of files, the driver's device opened on it, and the command in process."""

import pytest

from host.cli import main
from host.cli.settings import file
from tests.host.support.stand_in import Board, StandIn, lay_out


@pytest.fixture
def board(tmp_path):
    """A running board; ``board.files`` are the arguments that find it."""
    files = lay_out(tmp_path)
    with Board(tmp_path) as machine:
        machine.files = files
        yield machine


@pytest.fixture
def opened(board):
    device = StandIn(board, **board.files)
    yield device
    device.close()


@pytest.fixture
def edge_moe(capsys, monkeypatch):
    """Runs ``edge-moe`` in process, without defaults of the user's own: (status, stdout, stderr)."""
    monkeypatch.setattr(file, "OWN", "edge-moe/absent.toml")
    monkeypatch.delenv("EDGE_MOE_CONFIG", raising=False)

    def command(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err
    return command
