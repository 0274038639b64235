# SPDX-License-Identifier: Apache-2.0
"""Area and depth: the analysis on hand-made netlists, whole units through Yosys, boards as data."""

import json
import re
from collections import Counter

import pytest

from golden.spec.boards import BOARD_OF, BOARDS
from golden.spec.machine import MACHINES, NANO
from host.report import synthesis
from host.report.synthesis import GLUE
from sim.implementation.synth import design, flow, report, units
from sim.implementation.synth.__main__ import main
from sim.implementation.synth.depth import PORT, REGISTER, longest_paths
from sim.implementation.synth.resets import widest_reset
from sim.implementation.synth.resources import TARGET, bram36, resources

INSIDE = REGISTER, REGISTER
OUTPUTS = {"O", "Q", "CO", "P", "DOA", "SPO", "DPO", "DOUTADOUT", "DOUT_A"}


def cell(kind, parameters=None, **pins):
    pins = {pin: nets if isinstance(nets, list) else [nets] for pin, nets in pins.items()}
    return {"type": kind, "parameters": parameters or {}, "connections": pins,
            "port_directions": {pin: "output" if pin in OUTPUTS else "input" for pin in pins}}


def netlist(cells, *, ports=None, names=None):
    """A module as ``write_json`` writes it; net 1 is the clock."""
    return {"ports": {name: {"direction": direction, "bits": bits} for name, direction, bits in ports or []},
            "cells": {f"cell{n}": entry for n, entry in enumerate(cells)},
            "netnames": {name: {"hide_name": 0, "bits": bits} for name, bits in (names or {}).items()}}


def flop(d, q, **pins):
    return cell("FDRE", C=1, D=d, Q=q, **pins)


def test_counts_lut_levels_between_registers():
    paths = longest_paths(netlist(
        [flop("0", 2), cell("LUT2", I0=2, I1="1", O=3), cell("LUT6", I0=3, O=4), flop(4, 5), flop(2, 6)],
        names={"count": [2], "total": [5], "copy": [6]}))
    assert (paths[INSIDE].levels, paths[INSIDE].cells) == (2, ("LUT2", "LUT6"))
    assert (paths[INSIDE].start, paths[INSIDE].end) == ("count", "total")
    assert str(paths[INSIDE]) == "count -> LUT2 LUT6 -> total"


def test_enable_and_reset_end_a_path():
    paths = longest_paths(netlist(
        [flop("0", 2), cell("LUT1", I0=2, O=3), cell("LUT1", I0=3, O=4), flop(2, 5, CE=3, R=4)], names={"state": [5]}))
    assert (paths[INSIDE].levels, paths[INSIDE].end) == (2, "state.R")


def test_the_widest_reset_is_counted_by_flip_flops():
    cells = [flop(2, 10, R=5), flop(2, 11, R=5), flop(2, 12, R=6), flop(2, 13), cell("LUT1", I0=5, O=2)]
    assert widest_reset(netlist(cells, names={"unit_reset": [5], "long_unit_reset": [5], "other": [6]})) == (
        "unit_reset", 2)
    assert widest_reset(netlist(cells + [flop(2, 14, R=6), cell("FDSE", C=1, D=2, Q=15, S=6)])) == ("6", 3)
    assert widest_reset(netlist([flop(2, 10, R="0")])) == ("", 0)


@pytest.mark.parametrize("machine", ["zcu102", "kv260", "u280"])
def test_no_net_of_a_kept_machine_resets_more_than_the_limit(machine):
    """`make synth CONFIG=zcu102 ARGS=--keep` last measured it; every unit has a reset register of its own."""
    found = {unit["unit"]: unit["reset"] for unit in synthesis.kept(machine)["units"]}
    assert all(count <= report.LOGIC["reset"] for _, count in found.values())
    assert sum(count > 0 for _, count in found.values()) > 15, "most units have something to reset"


def test_inverters_and_wide_muxes_are_free():
    paths = longest_paths(netlist(
        [flop("0", 2), cell("INV", I=2, O=3), cell("LUT6", I0=3, O=4), cell("MUXF7", I0=4, I1="0", S=2, O=5),
         cell("MUXF8", I0=5, I1="0", S=2, O=6), flop(6, 7)]))
    assert paths[INSIDE].levels == 1
    assert paths[INSIDE].cells == ("INV", "LUT6", "MUXF7", "MUXF8")


@pytest.mark.parametrize("kind, width", [("CARRY4", 4), ("CARRY8", 8)])
def test_a_carry_chain_is_one_level(kind, width):
    """LUT, two chained carry cells, LUT: three levels, whichever bit starts it."""
    low, high = list(range(100, 100 + width)), list(range(200, 200 + width))
    zeros = ["0"] * width
    cells = [flop("0", 2), cell("LUT2", I0=2, O=3),
             cell(kind, CI="0", CYINIT="0", DI=zeros, S=[3, *zeros[1:]], O=list(range(300, 300 + width)), CO=low),
             cell(kind, CI=low[-1], CYINIT="0", DI=zeros, S=zeros, O=list(range(400, 400 + width)), CO=high),
             cell("LUT1", I0=400, O=5), flop(5, 6)]
    assert longest_paths(netlist(cells))[INSIDE].levels == 3


def test_a_carry_bit_depends_on_the_bits_below_only():
    """Bit 0 of the sum does not see the deep path into bit 1; bit 1 does."""
    cells = [flop("0", 2), cell("LUT1", I0=2, O=3), cell("LUT1", I0=3, O=4),
             cell("CARRY4", CI="0", CYINIT="0", DI=["0"] * 4, S=[2, 4, "0", "0"], O=[10, 11, 12, 13],
                  CO=[20, 21, 22, 23]),
             flop(10, 30)]
    assert longest_paths(netlist(cells))[INSIDE].levels == 1
    cells[-1] = flop(11, 30)
    assert longest_paths(netlist(cells))[INSIDE].levels == 3


def test_a_carry_out_into_a_new_chain_is_a_new_level():
    cells = [flop("0", 2),
             cell("CARRY4", CI="0", CYINIT="0", DI=["0"] * 4, S=[2, "0", "0", "0"], O=[10, 11, 12, 13],
                  CO=[20, 21, 22, 23]),
             cell("CARRY4", CI="0", CYINIT="0", DI=["0"] * 4, S=[23, "0", "0", "0"], O=[30, 31, 32, 33],
                  CO=[40, 41, 42, 43]),
             flop(33, 50)]
    assert longest_paths(netlist(cells))[INSIDE].levels == 2


@pytest.mark.parametrize("registers, expected", [
    ({}, 1 + TARGET.dsp_levels + 1), ({"AREG": "01"}, TARGET.dsp_levels + 1), ({"MREG": "1"}, 1), ({"PREG": "1"}, 1)])
def test_a_dsp_ends_paths_only_where_it_is_registered(registers, expected):
    cells = [flop("0", 2), cell("LUT1", I0=2, O=3), cell("DSP48E2", registers, A=3, B="0", P=4),
             cell("LUT1", I0=4, O=5), flop(5, 6)]
    assert longest_paths(netlist(cells))[INSIDE].levels == expected


def test_block_memories_end_and_start_paths():
    cells = [flop("0", 2), cell("LUT1", I0=2, O=3), cell("RAMB36E2", ADDRARDADDR=3, CLKARDCLK=1, DOUTADOUT=4),
             cell("LUT1", I0=4, O=5), cell("LUT1", I0=5, O=6), flop(6, 7)]
    path = longest_paths(netlist(cells))[INSIDE]
    assert (path.levels, path.start) == (2, "cell2 (RAMB36E2)")


def test_a_distributed_memory_is_read_in_one_level():
    cells = [flop("0", 2), cell("LUT1", I0=2, O=3), cell("RAM32M16", ADDRA=3, DIA="0", WE=2, WCLK=1, DOA=4),
             cell("LUT1", I0=4, O=5), flop(5, 6)]
    assert longest_paths(netlist(cells))[INSIDE].levels == 3


def test_ports_are_distinguished_from_registers():
    paths = longest_paths(netlist(
        [cell("LUT1", I0=2, O=3), flop(3, 4), cell("LUT1", I0=4, O=5), cell("LUT1", I0=5, O=6), cell("LUT1", I0=2, O=7),
         cell("LUT1", I0=7, O=8), cell("LUT1", I0=8, O=9)],
        ports=[("clk", "input", [1]), ("i", "input", [2]), ("o", "output", [6]), ("through", "output", [9])]))
    assert {kind: path.levels for kind, path in paths.items()} == {
        (PORT, REGISTER): 1, (REGISTER, PORT): 2, (PORT, PORT): 3}
    assert (paths[PORT, PORT].start, paths[PORT, PORT].end) == ("i[0]", "through[0]")


def test_a_path_runs_on_through_the_parts_of_a_machine():
    """Register in one part, LUTs in the shell and in both parts, register in the other; parts use the same numbers."""
    parts = {
        "dut.from": lambda: netlist([flop("0", 2), cell("LUT1", I0=2, O=3)], ports=[("o", "output", [3, "0"])],
                                    names={"begin": [2]}),
        "dut.to$7": lambda: netlist([cell("LUT1", I0=2, O=3), flop(3, 4)], ports=[("i", "input", [2, 5])],
                                    names={"finish": [4]}),
    }
    shell = netlist([cell("dut.from", O=[2, 6]), cell("LUT2", I0=2, O=3), cell("dut.to$7", I=[3, "1"])])
    for entry, pin in ((shell["cells"]["cell0"], "O"), (shell["cells"]["cell2"], "I")):
        entry["connections"] = {pin.lower(): entry["connections"][pin]}
        entry["port_directions"] = {pin.lower(): "output" if pin == "O" else "input"}
    path = longest_paths(shell, parts)[INSIDE]
    assert (path.levels, path.cells) == (3, ("LUT1", "LUT2", "LUT1"))
    assert (path.start, path.end) == ("cell0.begin", "cell2.finish")


def test_a_machine_comes_apart_at_its_units():
    """The parts hold all modules below them, under a separate name; the shell knows their ports only. The kept
    results are of these units."""
    shell, parts = design.split(design.to_rtlil(units.component(units.TOP, NANO)))
    assert {"array", "control", "norm", "operand"} <= set(parts)
    kind, inside = parts["control"]
    assert inside.count("module \\dut\n") == 1 and "module \\dut.loader" in inside and "\\dut.control" not in inside
    assert re.search(rf"(?m)^attribute \\blackbox 1\nmodule \\{re.escape(kind)}$", shell)
    assert "$mul" not in shell and sum(design.products(text) for _, text in parts.values()) > NANO.macs_per_cycle // 2
    half = 258, NANO.operand_rows
    assert design.memories(parts["operand"][1]) == {"half0": half, "half1": half}
    for machine in ("small", "zcu102"):
        kept = json.loads((synthesis.KEPT / f"{machine}.json").read_text())["units"]
        assert [entry["unit"] for entry in kept] == [*parts, GLUE, units.TOP], (
            f"The units have changed: run `make synth CONFIG={machine} ARGS=--keep && make docs`.")


def test_a_loop_without_a_register_is_refused():
    with pytest.raises(ValueError, match="2 nets depend on themselves .*ring"):
        longest_paths(netlist([cell("LUT1", I0=2, O=3), cell("LUT1", I0=3, O=2)], names={"ring": [2], "ring2": [3]}))


def test_unknown_cells_are_refused_by_name():
    with pytest.raises(ValueError, match="'FROB'"):
        longest_paths(netlist([cell("FROB", I=2, O=3)]))
    with pytest.raises(ValueError, match="'FROB' .7."):
        resources({"LUT6": 1, "FROB": 7})


def test_resources_add_up():
    total = resources({"LUT2": 3, "LUT6": 4, "RAM32M16": 2, "SRL16E": 5, "FDRE": 6, "FDSE": 1, "DSP48E2": 8,
                       "RAMB36E2": 9, "RAMB18E2": 3, "CARRY4": 6, "INV": 99, "MUXF7": 99})
    assert total == {"LUT": 28, "LUTRAM": 21, "FF": 7, "DSP": 8, "BRAM36": 9, "BRAM18": 3, "CARRY8": 3}
    assert bram36(total) == 10.5


def test_array_ports_get_names_that_yosys_can_keep_apart():
    text = design.to_rtlil(units.component("operand_memory", NANO))
    assert "[0]" not in text.replace(" [0]", "")


def test_boards_hold_their_machines():
    assert set(BOARD_OF) == set(MACHINES) and set(BOARD_OF.values()) <= set(BOARDS)
    assert BOARDS["zcu102"].dram_bytes_per_cycle == pytest.approx(56.9, abs=0.1)
    for name, board in BOARDS.items():
        assert name == board.name and min(board.lut, board.ff, board.dsp, board.bram36, board.ports) > 0
        assert MACHINES["zcu102"].ports + 1 <= board.ports


def test_unknown_units_are_refused(capsys):
    assert main(["--unit", "frobnicator"]) == 2
    assert "frobnicator" in (err := capsys.readouterr().err) and "softmax" in err
    with pytest.raises(ValueError, match="round_shift"):
        units.component("round_shift", NANO)


@pytest.mark.slow
def test_a_small_unit_goes_through_yosys(capsys):
    """Key memory of nano: block or distributed memories, no product, shallow; the same numbers twice."""
    assert main(["--config", "nano", "--unit", "key_memory", "block_quantize", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert [entry["unit"] for entry in first] == ["key_memory", "block_quantize"]
    memory, writer = first
    assert memory["resources"].get("LUTRAM", 0) + memory["bram36"] > 0
    assert all("logic" not in home for home in memory["memories"].values())
    assert 0 < writer["paths"]["register to register"]["levels"] <= report.LOGIC["levels"]
    assert main(["--config", "nano", "--unit", "key_memory", "block_quantize", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first


@pytest.mark.slow
def test_products_of_the_array_become_dsps_two_each():
    """256 multiply-accumulates a cycle with two int8 products a multiplier."""
    result = report.measure(design.to_rtlil(units.component("array", NANO)), "array")
    assert result.products == NANO.macs_per_cycle // 2
    assert result.resources["DSP"] == NANO.macs_per_cycle // 2
    assert result.levels <= report.LOGIC["levels"]
    assert "| array |" in synthesis.areas("nano", [result.as_json()])


def test_a_failed_synthesis_says_what_yosys_said(tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "BUILD", tmp_path)
    with pytest.raises(RuntimeError, match="ended with"):
        flow.synthesise("module \\dut\n  this is not RTLIL\nend\n")


def test_a_machine_is_the_sum_of_its_units(monkeypatch, tmp_path):
    """Two units and two LUTs of the top itself: areas add up; the path through all three is found; kept, not redone."""
    runs = []

    def synthesise(text, *, progress=None):
        cells = {"LUT1": 2, "dut.a": 1, "dut.b": 1} if "blackbox" in text else {"LUT6": 10, "FDRE": 3, "RAMB18E2": 1}
        if progress:
            progress()
        (place := tmp_path / flow.digest(text)).mkdir(exist_ok=True)
        return {"design": {"num_cells_by_type": cells}}, place / "netlist.json.gz"

    def load(path):
        runs.append(path)
        return netlist([flop("0", 2), cell("LUT1", I0=2, O=3), flop(3, 4)])

    monkeypatch.setattr(flow, "synthesise", synthesise)
    monkeypatch.setattr(flow, "load", load)
    module = "module \\{}\n  wire width 1 input 0 \\clk\n{}end\n"
    text = "".join([module.format("dut.a", ""), module.format("dut.b", "  wire input 1 \\x\n"),
                    module.format("dut", "  cell \\dut.a \\a\n  end\n  cell \\dut.b \\b\n  end\n")])
    steps = []
    results = list(report.measure_machine(text, lambda *step: steps.append(step)))
    assert [result.unit for result in results] == ["a", "b", GLUE, units.TOP]
    assert steps == [(1, 3, "a"), (2, 3, "b"), (3, 3, GLUE)]
    assert results[-1].resources == {"LUT": 22, "FF": 6, "BRAM18": 2} and results[-1].levels == 1
    assert [result.as_json() for result in report.measure_machine(text, lambda *step: None)] == [
        result.as_json() for result in results]
    assert len(runs) == 3


def test_results_survive_their_files():
    paths = longest_paths(netlist([flop("0", 2), cell("LUT1", I0=2, O=3), flop(3, 4)], names={"a": [2], "b": [4]}))
    result = report.Result("unit", Counter(LUT=3, CARRY8=1.5, BRAM18=1), paths, {"store": "8 x 8"}, 2, ("rst", 7))
    assert report.Result.from_json(json.loads(json.dumps(result.as_json()))) == result


def test_limits_are_reported_in_sentences():
    deep = longest_paths(netlist([flop("0", 2), *(cell("LUT1", I0=n, O=n + 1) for n in range(2, 11)), flop(11, 12)]))
    result = report.Result("top", Counter(DSP=2000, LUT=1000, BRAM36=600, BRAM18=100), deep)
    assert report.violations([result], "zcu102") == [
        "top: 9 levels from register to register, 8 allowed.", "whole machine: 2,000 DSP, 1,754 allowed.",
        "whole machine: 650 BRAM36, 638 allowed."]
    wide = report.Result("norm", Counter(), {}, reset=("rst", 5000))
    assert report.violations([wide], "zcu102") == ["norm: rst resets 5,000 flip-flops, 4,096 allowed."]
