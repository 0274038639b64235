# SPDX-License-Identifier: Apache-2.0
"""The shipped Verilog of the whole machine: clean, plain Verilog-2001, its pins as integrators expect them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from golden.spec.machine import NANO, SMALL
from hw.verilog import NAME, main, plain_names, wrapper
from sim.runner import toolchain

pytestmark = pytest.mark.rtl
ROOT = Path(__file__).parents[2]
WAIVED = {
    "DECLFILENAME": "all modules stand in one file",
    "UNUSEDSIGNAL": "every field of a structured payload gets a wire, read or not",
    "PROCASSINIT": "`reg x = v` is the power-up value, which FPGAs honour",
}
"""Verilator's warnings that we leave, and why; the file itself waives what its head states."""
READ = {"ARADDR", "ARLEN", "ARSIZE", "ARBURST", "ARVALID", "ARREADY", "RDATA", "RRESP", "RLAST", "RVALID", "RREADY"}
WRITE = {"AWADDR", "AWLEN", "AWSIZE", "AWBURST", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WLAST", "WVALID", "WREADY",
         "BRESP", "BVALID", "BREADY"}
LITE = {"AWADDR", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WVALID", "WREADY", "BRESP", "BVALID", "BREADY", "ARADDR",
        "ARVALID", "ARREADY", "RDATA", "RRESP", "RVALID", "RREADY"}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """Verilog of nano, written as a user writes it."""
    path = tmp_path_factory.mktemp("verilog") / f"{NAME}.v"
    main(["--config", "nano", "-o", str(path)])
    return path


def call(*command, limit=600) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{command[0]} refused the Verilog:\n{said[-3000:]}"
    return said


@pytest.mark.slow
def test_verilator_gives_no_warning(shipped):
    toolchain()
    said = call("verilator", "--lint-only", "-Wall", *(f"-Wno-{name}" for name in WAIVED), "--top-module", NAME,
                str(shipped))
    assert "%Warning" not in said and "%Error" not in said, said[-3000:]


@pytest.mark.slow
def test_every_waiver_is_needed(shipped):
    toolchain()
    done = subprocess.run(["verilator", "--lint-only", "-Wall", "--top-module", NAME, str(shipped)],
                          capture_output=True, text=True, timeout=600)
    assert set(re.findall(r"%Warning-(\w+)", done.stderr)) == set(WAIVED)


@pytest.mark.skipif(not shutil.which("iverilog"), reason="iverilog is not on PATH; install Icarus Verilog.")
@pytest.mark.parametrize("dialect", ["-g2001", "-g2005"])
def test_icarus_accepts_it(shipped, dialect):
    said = call("iverilog", dialect, "-Wall", "-Wno-timescale", "-tnull", "-s", NAME, str(shipped))
    complaints = [line for line in said.splitlines() if "error" in line or "warning" in line]
    assert not complaints, "\n".join(complaints[:20])


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
