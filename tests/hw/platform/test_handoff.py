# SPDX-License-Identifier: Apache-2.0
"""The built design's ``.hwh`` is compared with what overlay, driver and register table say; differences are named."""

import re

import pytest

from golden.spec.boards import BOARDS
from golden.spec.model import ConfigError
from hw.platform.choice import choice
from hw.platform.handoff import compare, main
from tests.hw.platform.support import ZYNQ, built, kit, needs_tcl

pytestmark = needs_tcl
KV260 = choice(BOARDS["kv260"])


@pytest.fixture(scope="module")
def handoff(tmp_path_factory):
    folder = kit(tmp_path_factory.mktemp("kit"), "kv260")
    built(folder, "kv260")
    return folder / "result/edge_moe.hwh"


@pytest.mark.parametrize("board", ZYNQ)
def test_a_built_kit_is_what_it_says(board, tmp_path, capsys):
    built(kit(tmp_path, board), board)
    assert main([str(tmp_path / "result/edge_moe.hwh"), "--board", board]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and all(line.startswith("ok") for line in lines), lines


@pytest.mark.parametrize("before, after, what, said", [
    ('DEVICE="xck26"', 'DEVICE="xczu9eg"', "device", "xczu9eg"),
    ('VALUE="52"', 'VALUE="60"', "registers", "JOB_LIMIT"),
    ('REGISTER NAME="RUN_ID"', 'REGISTER NAME="RUNS"', "registers", "RUN_ID None"),
    ('CLKFREQUENCY="299997000"', 'CLKFREQUENCY="249997500"', "clock", "249997500 Hz; .* 300000000"),
    ('BASEVALUE="0xA0000000"', 'BASEVALUE="0xA0010000"', "register address", "2684420096"),
    ('PORT="pl_ps_irq0"', 'PORT="pl_ps_irq1"', "interrupt", "pl_ps_irq1"),
    ('INTERFACE="S_AXI_HP3_FPD"', 'INTERFACE="S_AXI_HP2_FPD"', "m_axi_weights2", "S_AXI_HP2_FPD"),
])
def test_each_difference_is_named(handoff, before, after, what, said):
    text = handoff.read_text()
    assert before in text
    wrong = {name: message for name, message in compare(text.replace(before, after), KV260) if message}
    assert list(wrong) == [what]
    assert re.search(said, wrong[what])


def test_a_kit_with_another_clock_is_named(handoff):
    assert main([str(handoff), "--board", "kv260", "--clock", "250"]) == 1


def test_what_is_no_handoff_is_refused(handoff, capsys):
    with pytest.raises(ConfigError, match="no .hwh file"):
        compare("not XML", KV260)
    with pytest.raises(ConfigError, match="0 modules edge-moe:ip:edge_moe:"):
        compare(handoff.read_text().replace("edge-moe:ip", "other:ip"), KV260)
    with pytest.raises(SystemExit):
        main([str(handoff.with_name("none.hwh")), "--board", "kv260"])
    assert "No such file" in capsys.readouterr().err
