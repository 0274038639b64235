# SPDX-License-Identifier: Apache-2.0
"""The demonstration itself, on the nano model: it compares every bit and leaves its pictures."""

import json

import pytest

from sim.demo import __main__ as demo
from sim.trace import Mismatch, Tracer

pytestmark = pytest.mark.rtl
ARGUMENTS = ["--model", "nano", "--machine", "nano", "--json"]


def test_demo_is_bit_exact_and_leaves_pictures(tmp_path, capsys):
    assert demo.main([*ARGUMENTS, "--out", str(tmp_path)]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(summary) == {"task0", "task1"}
    for figures in summary.values():
        assert figures["bit_exact"] is True
        assert figures["cycles"] > 10_000 and figures["instructions_compared"] > 25
        assert figures["mse_against_float"] < 0.05
    for name in ("input.png", "experts.png", "features.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_demo_fails_when_a_bit_differs(tmp_path, monkeypatch, capsys):
    def differ(self, *_):
        raise Mismatch("one bit")

    monkeypatch.setattr(Tracer, "_compare", differ)
    assert demo.main([*ARGUMENTS, "--out", str(tmp_path)]) == 1
    assert "one bit" in capsys.readouterr().err
