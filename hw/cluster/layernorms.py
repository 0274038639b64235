# SPDX-License-Identifier: Apache-2.0
"""Layer norms of all clusters: the tokens of a NORM in as many consecutive parts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.interfaces import ISSUE, LINE_BITS, OPERAND_WRITE, ROW_BITS
from hw.lib.fork import Fork
from hw.lib.shared import add_clusters
from hw.shapes import INSTRUCTION
from hw.vector.layernorm.layernorm import LayerNorm

PLACES = (("src_row", "src_stride"), ("dst_row", "dst_stride"), ("normalized_row", "normalized_stride"))
"""Where the rows of a NORM's first token lie, and how far those of the next token are from there."""
SPLIT_LATENCY = 3
"""Cycles that splitting a NORM takes where there are several clusters."""


class ClusterLayerNorms(wiring.Component):
    """A :class:`LayerNorm` for each cluster. ::

        i -> [ tokens of a part ] -> [ products ] -> [ rows of each part ] -> [ LayerNorm ] -> o[n]
        i_param -> [ Fork ] ----------------------------------------------------^

    Part n are tokens n * q to (n + 1) * q - 1, with q the tokens by clusters, rounded up. A part beyond the last token
    is that token once more: it writes the same values to the same rows.
    Timing: as of LayerNorm for q tokens, SPLIT_LATENCY later; with one cluster there is nothing to split.
    Domain: as of LayerNorm.
    Reference model: ``golden.ops.layernorm.layernorm``.

    Members: as of LayerNorm; ``retired`` Out: a NORM is over in all clusters; ``o_read``, ``i_row``,
    ``o`` of each cluster.
    """

    i: stream.Interface
    i_param: stream.Interface
    o_read: list[stream.Interface]
    i_row: list[Signal]
    o: list[stream.Interface]
    idle: Signal
    retired: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "i_param": In(stream.Signature(LINE_BITS)),
            "o_read": Out(stream.Signature(ROW_BITS)).array(cfg.clusters),
            "i_row": In(LINE_BITS).array(cfg.clusters),
            "o": Out(stream.Signature(OPERAND_WRITE)).array(cfg.clusters), "idle": Out(1, init=1), "retired": Out(1)})

    def elaborate(self, platform):
        m = Module()
        units = [LayerNorm(self.cfg.cluster) for _ in self.o]
        params = m.submodules.params = Fork(LINE_BITS, len(units))
        connect(m, flipped(self.i_param), params.i)
        add_clusters(m, platform, units)
        for n, unit in enumerate(units):
            connect(m, params.o[n], unit.i_param)
            connect(m, unit.o_read, flipped(self.o_read[n]))
            connect(m, unit.o, flipped(self.o[n]))
            m.d.comb += unit.i_row.eq(self.i_row[n])
        if len(units) == 1:
            connect(m, flipped(self.i), units[0].i)
            m.d.comb += [self.idle.eq(units[0].idle), self.retired.eq(units[0].retire)]
        else:
            self._split(m, units)
        return m

    def _split(self, m, units: list[LayerNorm]) -> None:
        """One NORM at a time, from its transfer until all parts are done."""
        word, busy, going = Signal(INSTRUCTION[Opcode.NORM]), Signal(), Signal(SPLIT_LATENCY)
        running = Signal(len(units))
        m.d.comb += self.i.ready.eq(~busy)
        m.d.sync += going.eq(Cat(self.i.valid & self.i.ready, going))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [busy.eq(1), self.idle.eq(0), word.as_value().eq(self.i.p.word), running.eq(-1)]
        with m.Else():
            left = running & ~Cat(unit.retire for unit in units)
            m.d.sync += [running.eq(left), self.retired.eq((running != 0) & (left == 0))]
        with m.If(self.retired):
            m.d.sync += [busy.eq(0), self.idle.eq(1), self.retired.eq(0)]

        # Stage 1: the tokens of a part. Stage 2: products. Stage 3: each part's instruction.
        log2 = (len(units) - 1).bit_length()
        size, last = Signal(12), Signal(12)
        m.d.sync += [size.eq((word.tokens + len(units) - 1) >> log2), last.eq(word.tokens - 1)]
        for n, unit in enumerate(units):
            part = INSTRUCTION[Opcode.NORM](unit.i.p.word)
            first, beyond, count = self._tokens(m, n, size, last)
            m.d.comb += [unit.i.valid.eq(going[-1]), unit.i.p.word.eq(word), part.tokens.eq(count)]
            for row, stride in PLACES:
                product = Signal(ROW_BITS, name=f"product{n}_{row}")
                m.d.sync += product.eq(Mux(beyond, last, first) * word[stride])
                m.d.comb += part[row].eq(word[row] + product)

    @staticmethod
    def _tokens(m, n: int, size, last) -> tuple:
        """(first token of part ``n``, whether it is beyond the last one, how many it has a cycle later)"""
        first, beyond, count = Signal(14, name=f"first{n}"), Signal(name=f"beyond{n}"), Signal(12, name=f"count{n}")
        m.d.comb += [first.eq(n * size), beyond.eq(first > last if n else 0)]
        rest = last + 1 - first
        m.d.sync += count.eq(Mux(beyond, 1, Mux(rest < size, rest, size)))
        return first, beyond, count
