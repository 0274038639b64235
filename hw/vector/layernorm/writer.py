# SPDX-License-Identifier: Apache-2.0
"""Results of the layer norm into the operand memory: pairs of blocks, one plane of both a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from hw.interfaces import OPERAND_WRITE, ROW_BITS
from hw.shapes import INSTRUCTION
from hw.vector.layernorm.block_pairs import PAIR, PLANES


class NormWriter(wiring.Component):
    """Main (high, low), then normalized (high, low), as far as the NORM wants them. ::

        i -> [plane, row] -> o

    Timing: LATENCY = 1 from ``i`` to its first plane; II = as many cycles as planes. ``ended`` pulses when the last
    write is in its memory, two cycles after its transfer.
    Domain: 8-bit results have no low plane.
    Reference model: none, it changes nothing.
    Members: ``begun`` In, a cycle after the begin of ``norm``; ``i`` In(stream PAIR), ``o`` Out(stream
    OPERAND_WRITE); ``ended`` Out.
    """

    LATENCY = 1

    begun: Signal
    norm: data.View
    i: stream.Interface
    o: stream.Interface
    ended: Signal

    def __init__(self):
        super().__init__({"begun": In(1), "norm": In(INSTRUCTION[Opcode.NORM]), "i": In(stream.Signature(PAIR)),
                          "o": Out(stream.Signature(OPERAND_WRITE)), "ended": Out(1)})

    def elaborate(self, platform):
        m = Module()
        norm, pair, o = self.norm, self.i.payload, self.o.payload
        plane, free, last, last_pair = Signal(2), Signal(), Signal(), Signal()
        m.d.comb += [free.eq(~self.o.valid | self.o.ready),
                     last.eq(plane == Mux(norm.normalized, 3, norm.wide)), self.i.ready.eq(free & last)]
        rows = [self._row(m, "main", norm.dst_row, norm.dst_stride),
                self._row(m, "normalized", norm.normalized_row, norm.normalized_stride)]
        offset = Mux(plane[0], Mux(plane[1], norm.normalized_plane, norm.dst_plane), 0)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(self.i.valid), last_pair.eq(self.i.valid & last & pair.final),
                o.row.eq(Mux(plane[1], rows[1], rows[0]) + offset), o.mask.eq(Cat(1, pair.both)),
            ]
            m.d.sync += [o.exp[n].eq(Mux(plane == 0, pair.blocks[n].exp, 0)) for n in range(2)]
            with m.Switch(plane):
                for n in range(PLANES):
                    with m.Case(n):
                        m.d.sync += o.data.eq(Cat(block.planes[n] for block in pair.blocks))
            with m.If(self.i.valid):
                m.d.sync += plane.eq(Mux(last, 0, Mux((plane == 0) & ~norm.wide, 2, plane + 1)))
        landing = Signal()
        m.d.sync += [landing.eq(self.o.valid & self.o.ready & last_pair), self.ended.eq(landing)]
        return m

    def _row(self, m, name: str, first, stride) -> Signal:
        """Where the pair's main or normalized values go: rows of a token follow each other, tokens are ``stride``
        apart."""
        token_row, row, following = (Signal(ROW_BITS, name=f"{name}_{part}") for part in ("token_row", "row", "next"))
        m.d.comb += following.eq(token_row + stride)
        with m.If(self.begun):
            m.d.sync += [token_row.eq(first), row.eq(first)]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += row.eq(row + 1)
            with m.If(self.i.payload.ends):
                m.d.sync += [token_row.eq(following), row.eq(following)]
        return row
