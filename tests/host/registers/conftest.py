# SPDX-License-Identifier: Apache-2.0
"""The command in process."""

import pytest

from host.cli import main


@pytest.fixture
def edge_moe(capsys):
    """Runs ``edge-moe`` in process: (status, stdout, stderr)."""
    def command(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err
    return command
