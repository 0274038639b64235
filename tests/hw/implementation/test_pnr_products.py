# SPDX-License-Identifier: Apache-2.0
"""Products in DSP blocks: exact, with the registers that may move into them; registers without a LUT."""

import copy
import random
import re

import pytest
from amaranth.hdl import Module, Shape, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.implementation.pnr import pairs, place, products
from sim.implementation.synth import design, flow

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
