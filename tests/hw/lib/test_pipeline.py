# SPDX-License-Identifier: Apache-2.0
"""Delays and named stages: every field comes out as many cycles later as its stages have registers."""

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.lib.pipeline import ENTRY, Pipeline, delay

STAGES = {"read": 2, "skipped": 0, "sum": 1, "wait": 3}
AFTER = {ENTRY: 0, "read": 2, "skipped": 2, "sum": 3, "wait": 6}
"""Registers in front of each stage's result."""
DELAY = 4


class Probe(wiring.Component):
    """A pipeline of STAGES with every stage's fields as ports."""

    def __init__(self):
        super().__init__({
            "valid": In(1), "tag": In(signed(8)), "delayed": Out(signed(8)),
            **{f"{stage}_valid": Out(1) for stage in AFTER}, **{f"{stage}_tag": Out(signed(8)) for stage in AFTER}})

    def elaborate(self, platform):
        m = Module()
        self.pipe = Pipeline(m, "p", STAGES, flags={"valid": self.valid}, tag={"tag": self.tag})
        for stage in AFTER:
            beat = self.pipe.at(stage)
            m.d.comb += [getattr(self, f"{stage}_valid").eq(beat.valid), getattr(self, f"{stage}_tag").eq(beat.tag)]
        m.d.comb += self.delayed.eq(delay(m, self.tag, DELAY, "delayed"))
        return m


def test_fields_arrive_behind_their_stage():
    probe = Probe()
    values = [(n % 3 != 1, (37 * n) % 256 - 128) for n in range(40)]

    async def bench(ctx):
        for n, (valid, tag) in enumerate(values):
            ctx.set(probe.valid, valid)
            ctx.set(probe.tag, tag)
            for stage, late in AFTER.items():
                before = values[n - late] if n >= late else (0, 0)
                assert (ctx.get(getattr(probe, f"{stage}_valid")), ctx.get(getattr(probe, f"{stage}_tag"))) == before
            assert ctx.get(probe.delayed) == (values[n - DELAY][1] if n >= DELAY else 0)
            await ctx.tick()

    simulator = Simulator(probe)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_counts_the_registers_between_stages():
    pipe = Pipeline(Module(), "p", STAGES, flags={"valid": Signal()})
    assert pipe.LATENCY == pipe.cycles() == 6
    assert {stage: pipe.cycles(until=stage) for stage in AFTER} == AFTER
    assert pipe.cycles("read", "sum") == 1 and pipe.cycles("sum") == 3


def test_only_flags_are_reset():
    """A reset in the middle: what waits loses its flag, not its tag."""
    m, valid, tag = Module(), Signal(), Signal(8)
    pipe = Pipeline(m, "p", {"wait": 1}, flags={"valid": valid}, tag={"tag": tag})
    beat = pipe.at("wait")
    assert not beat.valid.reset_less and beat.tag.reset_less


def test_the_entry_keeps_its_name():
    with pytest.raises(ValueError, match="before all others"):
        Pipeline(Module(), "p", {ENTRY: 1}, flags={})
