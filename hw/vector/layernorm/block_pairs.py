# SPDX-License-Identifier: Apache-2.0
"""Pair gather of the layer norm: parts of blocks become the two blocks that share a write."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.model import BLOCK
from hw.interfaces import EXP_BITS

PLANES = 4
"""High bytes (or the only bytes) and low bytes of the result, high and low bytes of the normalized values."""


def _results(channels: int) -> data.StructLayout:
    return data.StructLayout({"planes": data.ArrayLayout(unsigned(8 * channels), PLANES), "exp": unsigned(EXP_BITS)})


def part_layout(channels: int) -> data.StructLayout:
    """Results of a part of a block's channels. ``odd``: the block is the second of its pair; ``ends``: the last of its
    token; ``final``: of its NORM."""
    return data.StructLayout({"results": _results(channels), "odd": 1, "ends": 1, "final": 1})


PAIR = data.StructLayout({"blocks": data.ArrayLayout(_results(BLOCK), 2), "both": 1, "ends": 1, "final": 1})


class PairGather(wiring.Component):
    """Pair gather: collects the parts of two blocks (of one, where a token ends) side by side.

    ::

        i -> [planes of two blocks, a part at a time] -> o

    Timing: LATENCY = 1 from a pair's last part to ``o.valid``. II = 1 part; the first part of a pair is taken in the
    cycle that takes the pair before it.
    Domain: ``channels`` a part, a power of two; a block's parts ascend.
    Reference model: none, it changes nothing.
    Members: ``i`` In(stream of ``part_layout(channels)``), ``o`` Out(stream PAIR).
    """

    LATENCY = 1
    II = 1

    i: stream.Interface
    o: stream.Interface

    def __init__(self, channels: int):
        self.channels = channels
        super().__init__({"i": In(stream.Signature(part_layout(channels))), "o": Out(stream.Signature(PAIR))})

    def elaborate(self, platform):
        m = Module()
        part, pair = self.i.payload, Signal(PAIR, reset_less=True)
        parts, bits = BLOCK // self.channels, 8 * self.channels
        place, transfer = Signal(range(parts)), Signal()
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), transfer.eq(self.i.valid & self.i.ready),
                     self.o.payload.eq(pair)]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid & (place == parts - 1) & (part.odd | part.ends))
        with m.If(transfer):
            m.d.sync += [place.eq(place + 1), pair.both.eq(part.odd), pair.ends.eq(part.ends),
                         pair.final.eq(part.final)]
        for n, block in enumerate(pair.blocks):
            with m.If(transfer & (part.odd == n)):
                m.d.sync += block.exp.eq(part.results.exp)
                for k in range(parts):
                    with m.If(place == k):
                        m.d.sync += [plane[k * bits:(k + 1) * bits].eq(new)
                                     for plane, new in zip(block.planes, part.results.planes, strict=True)]
        return m
