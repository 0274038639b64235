# SPDX-License-Identifier: Apache-2.0
"""Issue registers: an instruction on its way to each unit, and which units are busy."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Unit
from hw.interfaces import ISSUE

HOLD = 4
"""Cycles after an issue in which a unit counts as busy, whatever its ``idle``."""
UNITS = {Unit.DMA: "o_dma", Unit.NORM: "o_norm", Unit.ARRAY: "o_array", Unit.GATE: "o_gate"}


class IssueRegisters(wiring.Component):
    """Issue registers: one for each unit, so a unit that is slow to accept does not stall the others.

    ::

        issue -put, target-> [o_dma | o_norm | o_array | o_gate]
                                \\-> waits there, accepted less than HOLD cycles ago, or ~idle -> [busy]

    Timing: LATENCY cycles from ``put`` to ``valid``, and from ``idle`` to ``busy``.
    Domain: ``put`` only while ``free``.
    Reference model: none.

    Members: ``issue`` In, with ``target`` In(4), the units it goes to, in the order of ``isa.Unit``, and ``put`` In;
    ``free`` Out, the registers of ``target`` are; ``idle`` In(4), ``busy`` Out(4); ``o_dma``, ``o_norm``, ``o_array``,
    ``o_gate`` Out(stream of ISSUE).
    """

    LATENCY = 1

    issue: data.View
    target: Signal
    put: Signal
    free: Signal
    idle: Signal
    busy: Signal
    o_dma: stream.Interface
    o_norm: stream.Interface
    o_array: stream.Interface
    o_gate: stream.Interface

    def __init__(self):
        super().__init__({
            "issue": In(ISSUE), "target": In(len(UNITS)), "put": In(1), "free": Out(1),
            "idle": In(len(UNITS)), "busy": Out(len(UNITS)),
            **{name: Out(stream.Signature(ISSUE)) for name in UNITS.values()},
        })

    def elaborate(self, platform):
        m = Module()
        outputs = [getattr(self, name) for name in UNITS.values()]
        m.d.comb += self.free.eq(~(Cat(out.valid for out in outputs) & self.target).any())
        for i, out in enumerate(outputs):
            hold = Signal(range(HOLD + 1), name=f"hold{i}")
            with m.If(out.valid & out.ready):
                m.d.sync += [out.valid.eq(0), hold.eq(HOLD)]
            with m.Elif(hold != 0):
                m.d.sync += hold.eq(hold - 1)
            m.d.sync += self.busy[i].eq(out.valid | ~self.idle[i] | (hold != 0))
            with m.If(self.put & self.target[i]):
                m.d.sync += [out.payload.eq(self.issue), out.valid.eq(1)]
        return m
