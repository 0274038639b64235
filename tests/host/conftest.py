# SPDX-License-Identifier: Apache-2.0
"""A board made of files, and the driver's device opened on it."""

import pytest

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
