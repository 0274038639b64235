# SPDX-License-Identifier: Apache-2.0
"""The shipped Verilog of the whole machine: clean, plain Verilog-2001, its pins as integrators expect them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from golden.spec.machine import MACHINES, NANO, SMALL
from hw.verilog import NAME, main, plain_names, wrapper
from sim import lint

pytestmark = pytest.mark.rtl
ROOT = Path(__file__).parents[2]
READ = {"ARADDR", "ARLEN", "ARSIZE", "ARBURST", "ARVALID", "ARREADY", "RDATA", "RRESP", "RLAST", "RVALID", "RREADY"}
WRITE = {"AWADDR", "AWLEN", "AWSIZE", "AWBURST", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WLAST", "WVALID", "WREADY",
         "BRESP", "BVALID", "BREADY"}
LITE = {"AWADDR", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WVALID", "WREADY", "BRESP", "BVALID", "BREADY", "ARADDR",
        "ARVALID", "ARREADY", "RDATA", "RRESP", "RVALID", "RREADY"}


ICARUS = pytest.mark.skipif(not shutil.which("iverilog"), reason="iverilog is not on PATH; install Icarus Verilog.")
PRESETS = [pytest.param(name, marks=[] if name in ("nano", "small") else [pytest.mark.nightly])
           for name in MACHINES]
"""In the ordinary suite the quick ones."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Verilog of a machine by name, written as a user writes it, once."""
    folder = tmp_path_factory.mktemp("verilog")

    def export(name: str) -> Path:
        path = folder / f"{NAME}_{name}.v"
        if not path.exists():
            main(["--config", name, "-o", str(path)])
        return path
    return export


@pytest.fixture(scope="module")
def shipped(exported) -> Path:
    """Verilog of nano."""
    return exported("nano")


def call(*command, limit=600) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{command[0]} refused the Verilog:\n{said[-3000:]}"
    return said


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_verilator_and_slang_say_nothing(exported, name):
    for linter in (lint.verilator, lint.slang):
        said = linter(exported(name))
        assert not said, f"{linter.__name__}: {said[:3000]}"


@ICARUS
@pytest.mark.parametrize("name", PRESETS)
def test_icarus_says_nothing(exported, name):
    for dialect in lint.DIALECTS:
        said = lint.icarus(exported(name), dialect)
        assert not said, f"{dialect}: {said[:3000]}"


@pytest.mark.parametrize("name", PRESETS)
def test_no_wire_is_without_bits_and_no_memory_is_filled_with_zeros(exported, name):
    text = exported(name).read_text()
    assert "[-1:0]" not in text
    assert not re.search(r"initial begin\n(?: +\S+ ?\[\d+\] = \d+'h0+;\n)+ +end", text)


@pytest.mark.slow
@pytest.mark.parametrize("linter, waived", [(lint.verilator, lint.VERILATOR_WAIVED), (lint.slang, lint.SLANG_WAIVED)])
def test_every_waiver_is_needed(shipped, linter, waived):
    assert lint.warnings_of(linter(shipped, ())) == set(waived)


DEFECTS = {
    "a second driver": ("endmodule", "  assign interrupt = ap_clk;\nendmodule"),
    "a latch": ("endmodule", "  reg kept;\n  always @* if (ap_rst_n) kept = ap_clk;\nendmodule"),
    "a name that nothing declares": (".ap_clk(ap_clk)", ".ap_clk(ap_clock)"),
    "a pin that the core lacks": (".ap_clk(ap_clk)", ".ap_clock(ap_clk)"),
    "a wire without bits": ("endmodule", "  wire [-1:0] empty;\n  assign empty = ap_clk;\nendmodule"),
}


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_what_is_wrong_would_be_said(shipped, tmp_path, defect):
    """Each defect, put into the top module, is found by Verilator or by slang."""
    before, after = DEFECTS[defect]
    spoiled = tmp_path / "spoiled.v"
    spoiled.write_text(shipped.read_text().replace(before, after, 1))
    assert lint.verilator(spoiled) or lint.slang(spoiled)


@pytest.mark.slow
def test_yosys_accepts_it(shipped):
    """Read, resolved and lowered without a latch, a loop, a second driver or a black box."""
    script = (f"read_verilog {shipped}", f"hierarchy -check -top {NAME}", "proc", "check -assert",
              "select -assert-none t:$dlatch t:$_DLATCH_*")
    code = "import sys; from pyosys import libyosys as y; d = y.Design(); [y.run_pass(s, d) for s in sys.argv[1:]]"
    call(sys.executable, "-c", code, *script)


@pytest.mark.slow
def test_the_same_machine_gives_the_same_text(shipped, tmp_path):
    """In another process, with other hashes."""
    again = tmp_path / "again.v"
    subprocess.run([sys.executable, "-m", "hw.verilog", "--config", "nano", "-o", str(again)], cwd=ROOT, check=True,
                   capture_output=True, timeout=600, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert again.read_bytes() == shipped.read_bytes()


def test_it_says_what_it_is(shipped):
    text = shipped.read_text()
    assert text.startswith("// SPDX-License-Identifier: Apache-2.0\n")
    assert f"{NANO.fingerprint:016x}" in text
    assert 'src = "' not in text and str(Path(__file__).parents[2]) not in text, "source paths are in the Verilog"


def test_no_name_looks_like_a_bit_of_another(shipped):
    """``\\x[0]`` together with a wire ``x`` stops Yosys' synthesis for UltraScale+."""
    assert not re.search(r"\\\S*\[\d+\]\S*\s", shipped.read_text())
    assert plain_names("assign \\a.b[3] = c[3] + \\d[1][20].e ;") == "assign \\a.b_3 = c[3] + \\d_1_20.e ;"


def pins(cfg) -> dict[str, tuple[str, int, dict[str, str]]]:
    """Pin -> direction, width, attributes, read from the text."""
    found = {}
    pattern = r"\(\* (.*?) \*\)\s+(input|output)\s+wire (?:\[(\d+):0\] )?(\w+)"
    for marks, direction, high, name in re.findall(pattern, wrapper(cfg), re.DOTALL):
        found[name] = direction, int(high or 0) + 1, dict(re.findall(r'(\w+) = "([^"]*)"', marks))
    return found


@pytest.mark.parametrize("cfg", [NANO, SMALL], ids=lambda cfg: cfg.name)
def test_pins_have_the_names_and_marks_that_vivado_groups_them_by(cfg):
    found = pins(cfg)
    for pin, (_, _, marks) in found.items():
        assert "X_INTERFACE_INFO" in marks, f"{pin} has no X_INTERFACE_INFO."
    buses = {"m_axi_main": READ | WRITE, "s_axi_control": LITE,
             **{f"m_axi_weights{p}": READ for p in range(cfg.ports)}}
    for bus, wanted in buses.items():
        mine = {pin: entry for pin, entry in found.items() if pin.startswith(f"{bus}_")}
        assert wanted <= {pin.removeprefix(f"{bus}_").upper() for pin in mine}
        for pin, (_, _, marks) in mine.items():
            role = pin.removeprefix(f"{bus}_").upper()
            assert marks["X_INTERFACE_INFO"] == f"xilinx.com:interface:aximm:1.0 {bus} {role}"
        assert sum("X_INTERFACE_PARAMETER" in marks for _, _, marks in mine.values()) == 1
    assert set(found) == {"ap_clk", "ap_rst_n", "interrupt"} | {
        pin for pin in found if pin.startswith(tuple(f"{bus}_" for bus in buses))}
    widths = {name: width for name, (_, width, _) in found.items()}
    assert widths["m_axi_main_awaddr"] == widths["m_axi_weights0_araddr"] == 64
    assert widths["m_axi_main_wdata"] == widths["m_axi_weights0_rdata"] == 128
    assert (widths["s_axi_control_awaddr"], widths["s_axi_control_wdata"]) == (12, 32)
    directions = {name: direction for name, (direction, _, _) in found.items()}
    assert directions["m_axi_main_araddr"] == directions["s_axi_control_rdata"] == directions["interrupt"] == "output"
    assert directions["m_axi_main_rdata"] == directions["s_axi_control_araddr"] == directions["ap_clk"] == "input"
    associated = found["ap_clk"][2]["X_INTERFACE_PARAMETER"]
    assert all(bus in associated for bus in buses) and "ACTIVE_LOW" in found["ap_rst_n"][2]["X_INTERFACE_PARAMETER"]
