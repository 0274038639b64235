# SPDX-License-Identifier: Apache-2.0
"""Unit activity: which units are idle, for the sequencer."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Unit

SETTLE = 3
"""Cycles a unit must look empty: no hand-over between two parts of it leaves a longer gap."""


class Activity(wiring.Component):
    """Activity of the units: ``idle`` of a unit is high when all its parts have been empty for SETTLE cycles.

    ARRAY consists of array control, array, contexts on their way, epilogue and softmax.

    Timing: LATENCY cycles from the last part's idle to ``idle``; busy shows a cycle after it begins.
    Domain: something that leaves one part shows in the next within SETTLE cycles.
    Reference model: none.

    Members: ``dma``, ``norm``, ``gate``, ``control``, ``array``, ``epilogue``, ``softmax`` In, ``idle`` of each part;
    ``context`` In, a tile context waits before the epilogue; ``idle`` Out, in the order of ``isa.Unit``.
    """

    LATENCY = SETTLE

    dma: Signal
    norm: Signal
    gate: Signal
    control: Signal
    array: Signal
    epilogue: Signal
    softmax: Signal
    context: Signal
    idle: Signal

    def __init__(self):
        super().__init__({
            **{name: In(1) for name in ("dma", "norm", "gate", "control", "array", "epilogue", "softmax", "context")},
            "idle": Out(len(Unit)),
        })

    def elaborate(self, platform):
        m = Module()
        parts = {
            Unit.DMA: self.dma, Unit.NORM: self.norm, Unit.GATE: self.gate,
            Unit.ARRAY: self.control & self.array & self.epilogue & self.softmax & ~self.context,
        }
        for n, unit in enumerate(Unit):
            seen = Signal(SETTLE - 1, name=f"seen_{unit.name.lower()}")
            m.d.sync += [seen.eq(Cat(parts[unit], seen)), self.idle[n].eq(parts[unit] & seen.all())]
        return m
