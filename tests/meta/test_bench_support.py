# SPDX-License-Identifier: Apache-2.0
"""Tests of the bench support: protocol violations are caught, payloads that do not fit are refused, waits end."""

import json

import cocotb
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sim.accuracy import VARIABLE, Accuracy, nearest, read
from sim.payload import pack, unpack
from sim.runner import BUILD, run_bench
from sim.streams import Hang, Sink, Source, bursts, cycles, half, start, until
from sim.table import against_torch

PAIR = data.StructLayout({"a": 8, "b": data.ArrayLayout(4, 2)})


class Register(wiring.Component):
    """A correct stream register, an output that changes while stalled, and one that drops valid."""

    i: In(stream.Signature(PAIR))
    o: Out(stream.Signature(PAIR))
    o_restless: Out(stream.Signature(8))
    o_fickle: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        count = Signal(8)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [self.o_restless.valid.eq(1), self.o_restless.payload.eq(count), self.o_fickle.valid.eq(count[0])]
        return m


def test_bench_support():
    run_bench(Register(), module=__name__)


def test_waves_leave_a_waveform(monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in BUILD.glob("waves-*/dump.vcd")}
    monkeypatch.setenv("WAVES", "1")
    run_bench(Register(), module=__name__, name="waves", tests=["passes_values_in_order_under_stalls"])
    new = [path for path in BUILD.glob("waves-*/dump.vcd") if path.stat().st_mtime_ns != before.get(path)]
    assert len(new) == 1 and b"$enddefinitions" in new[0].read_bytes()


def test_a_run_leaves_its_accuracy_in_its_record():
    before = set((BUILD / "results").glob("accuracy-*.json"))
    run_bench(Register(), module=__name__, name="accuracy", tests=["keeps_an_accuracy"])
    record, = set((BUILD / "results").glob("accuracy-*.json")) - before
    assert json.loads(record.read_text())["accuracy"] == [
        {"unit": "register", "function": "identity", "error": 0.5, "bound": 1.0, "largest": 0.5, "values": 2}]


def test_an_accuracy_is_that_of_the_value_nearest_to_its_bound(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "kept"))
    near = nearest("unit", "f", [1.0, 2.5, 3.0], [1.0, 2.0, 3.25], [0.0, 1.0, 0.3])
    assert near == Accuracy("unit", "f", 0.25, 0.3, 0.5, 3) and near.ratio == 0.25 / 0.3
    near.keep()
    assert nearest("unit", "f", [1], [1], 0).ratio == 0 and nearest("unit", "f", [1], [2], 0).ratio == float("inf")
    with pytest.raises(AssertionError, match="beyond its bound"):
        nearest("unit", "f", [1], [3], 1.5).keep()
    with pytest.raises(AssertionError, match="says too little"):
        nearest("unit", "f", [1], [1.1], 1.0).keep()
    for bad in ([], [float("nan")]):
        with pytest.raises(ValueError, match="no number"):
            nearest("unit", "f", bad, bad, 1.0)
    assert [entry["error"] for entry in read(tmp_path / "kept")] == [0.25, 2.0, pytest.approx(0.1)]
    table = against_torch([Accuracy(**entry) for entry in read(tmp_path / "kept")])
    assert [list(column.cells) for column in table.columns] == [
        ["unit"], ["f"], ["5"], ["2.00e+00"], ["2.00e+00"], ["1.50e+00"], ["1.33"]]


def test_pack_refuses_what_does_not_fit():
    assert unpack(PAIR, pack(PAIR, {"a": 255, "b": [1, 15]})) == {"a": 255, "b": [1, 15]}
    with pytest.raises(ValueError, match="a: 256 does not fit"):
        pack(PAIR, {"a": 256})
    with pytest.raises(ValueError, match="no field"):
        pack(PAIR, {"c": 0})
    with pytest.raises(ValueError, match="2 elements"):
        pack(PAIR, {"b": [1]})


@cocotb.test()
async def passes_values_in_order_under_stalls(dut):
    await start(dut)
    values = [{"a": i & 255, "b": [i & 15, 3]} for i in range(200)]
    sink, source = Sink(dut, "o", PAIR, stall=half), Source(dut, "i", PAIR, stall=bursts())
    await source.send(values)
    assert await sink.receive(200, 1000) == values


@cocotb.test()
async def keeps_an_accuracy(dut):
    await start(dut)
    nearest("register", "identity", [1, 2], [1, 2.5], 1.0).keep()


@cocotb.test(expect_fail=True)
async def catches_a_payload_that_changes(dut):
    await start(dut)
    Sink(dut, "o_restless", 8, stall=half)
    await cycles(dut, 60)


@cocotb.test(expect_fail=True)
async def catches_a_valid_that_falls(dut):
    await start(dut)
    Sink(dut, "o_fickle", 8, stall=half)
    await cycles(dut, 60)


@cocotb.test()
async def a_wait_ends_with_a_sentence(dut):
    await start(dut)
    try:
        await until(dut, lambda: False, 20, "a thing that never comes")
    except Hang as error:
        assert "a thing that never comes did not happen within 20 cycles" in str(error)
    else:
        raise AssertionError("until() returned.")
