# SPDX-License-Identifier: Apache-2.0
"""Place and route: rows of registers as memories, proved to answer as the registers did."""

import gzip
import json
from collections import Counter

import pytest

from sim.implementation.pnr import delays
from sim.implementation.synth import flow

ROWS = {"wide": (9, 6), "long": (4, 20), "narrow": (1, 40), "held": (2, 7), "short": (8, 4)}
"""(Bits, registers) of each row: more bits than a memory has, more words than it has, more than two memories of one
bit, one that stops now and then, one too short."""
GONE = 8 * 5 + 4 * (16 + 3) + 2 * 16
"""The ninth bit of ``wide`` would save nothing, nor would the last seven registers of ``narrow``."""
STEPS = 44
"""More than the longest row has registers."""

TAPPED = """
  reg [3:0] tap[6:0];
  always @(posedge clk) begin tap[0] <= tapped; {loop} end
  assign middle = tap[2];
  assign end_ = tap[6];
"""


def _verilog():
    ports = [f"input [{bits - 1}:0] {name}, output [{bits - 1}:0] {name}_q" for name, (bits, _) in ROWS.items()]
    body = []
    for name, (bits, length) in ROWS.items():
        moves = " ".join(f"{name}_r[{n}] <= {name}_r[{n - 1}];" for n in range(1, length))
        when = "if (go) " if name == "held" else ""
        body += [f"  reg [{bits - 1}:0] {name}_r[{length - 1}:0];",
                 f"  always @(posedge clk) {when}begin {name}_r[0] <= {name}; {moves} end",
                 f"  assign {name}_q = {name}_r[{length - 1}];"]
    loop = " ".join(f"tap[{n}] <= tap[{n - 1}];" for n in range(1, 7))
    ports += ["input clk", "input go", "input [3:0] tapped", "output [3:0] middle", "output [3:0] end_"]
    return "\n".join([f"module dut({', '.join(ports)});", *body, TAPPED.format(loop=loop), "endmodule"])


@pytest.fixture(scope="module")
def before():
    script = "read_verilog dut.v\nsynth_gowin -family gw5a -noiopads -top dut\nwrite_json netlist.json\n"
    with gzip.open(flow.run({"dut.v": _verilog()}, script), "rt") as netlist:
        return {"modules": {"dut": json.load(netlist)["modules"]["dut"]}}


@pytest.fixture(scope="module")
def after(before):
    changed = json.loads(json.dumps(before))
    return changed, delays.shorten(changed["modules"]["dut"])


def _kinds(netlist):
    return Counter(cell["type"] for cell in netlist["modules"]["dut"]["cells"].values())


def test_rows_become_memories(before, after):
    """Two of ``wide``, two of ``long``, two of ``narrow``, with counters of 5, of 16 and of 3; the rest as it was."""
    changed, gone = after
    old, new = _kinds(before), _kinds(changed)
    assert gone == GONE
    counters = 3
    assert new - old == Counter(RAM16SDP4=6, LUT4=4 * counters)
    assert old - new == Counter(DFF=GONE - 4 * counters)
    assert delays.shorten(changed["modules"]["dut"]) == 0


@pytest.mark.slow
def test_memories_answer_as_the_registers_did(before, after):
    """For any input, for 44 cycles from the start: proved by Yosys with its own models of the cells."""
    script = [line for name, kept in (("gold", "before"), ("gate", "after")) for line in (
        f"read_json {kept}.json", f"rename dut {name}", f"setattr -mod -unset top {name}")]
    script += ["read_verilog +/gowin/cells_sim.v", "hierarchy", "proc", "flatten gold gate", "memory gold gate",
               "opt -full gold gate", "miter -equiv -make_assert -flatten gold gate both",
               f"sat -verify -prove-asserts -seq {STEPS} -set-init-zero both", "cd both", "write_json netlist.json"]
    files = {"before.json": json.dumps(before), "after.json": json.dumps(after[0])}
    flow.run(files, "\n".join(script))
