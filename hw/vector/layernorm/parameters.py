# SPDX-License-Identifier: Apache-2.0
"""Gains and offsets of a NORM, from lines to what a part of a block needs."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.isa import Opcode
from golden.spec.machine import NORM_PARAM_LINES, MachineConfig
from hw.interfaces import LINE_BITS
from hw.shapes import INSTRUCTION
from hw.vector.layernorm.shapes import MAX_BLOCKS


class NormParameters(wiring.Component):
    """Gains and offsets of all blocks, a row for each part. ::

        i_param -> [piece of a line] -> [parts] -> [read register] -> data

    Timing: a piece of a line a cycle; LATENCY = 1 from ``number``, ``block`` to ``data``.
    Domain: NORM_PARAM_LINES lines a block, as many blocks as ``norm`` says.
    Reference model: none, it changes nothing.
    Members: ``begin``, ``norm`` In; ``i_param`` In(stream of LINE_BITS); ``loaded`` Out, all are here;
    ``number``, ``block`` In -> ``data`` Out.
    """

    LATENCY = 1
    II = 1

    begin: Signal
    norm: data.View
    i_param: stream.Interface
    loaded: Signal
    number: Signal
    block: Signal
    data: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "begin": In(1), "norm": In(INSTRUCTION[Opcode.NORM]), "i_param": In(stream.Signature(LINE_BITS)),
            "loaded": Out(1), "number": In(range(cfg.serialization)), "block": In(range(MAX_BLOCKS)),
            "data": Out(NORM_PARAM_LINES * LINE_BITS // cfg.serialization)})

    def elaborate(self, platform):
        m = Module()
        serial = self.cfg.serialization
        # A line is `serial` pieces long, a part has as many pieces as a block has lines.
        table = m.submodules.blocks = memory.Memory(
            shape=data.ArrayLayout(unsigned(LINE_BITS // serial), NORM_PARAM_LINES), depth=MAX_BLOCKS * serial, init=[])
        port, read = table.write_port(granularity=1), table.read_port()
        m.d.comb += [read.addr.eq(Cat(self.number, self.block)), self.data.eq(read.data)]
        part, column, piece = Signal.like(port.addr), Signal(2), Signal(range(serial))
        loading, write, last = Signal(), Signal(), Signal()
        m.d.comb += [self.i_param.ready.eq(loading & (piece == serial - 1)), write.eq(self.i_param.valid & loading),
                     last.eq(column == NORM_PARAM_LINES - 1), port.addr.eq(part)]
        for n in range(NORM_PARAM_LINES):
            m.d.comb += [port.data[n].eq(self.i_param.payload.word_select(piece, LINE_BITS // serial)),
                         port.en[n].eq(write & (column == n))]
        with m.If(write):
            m.d.sync += [column.eq(Mux(last, 0, column + 1)), piece.eq(piece + 1)]
            with m.If(last):
                m.d.sync += part.eq(part + 1)
                with m.If(part + 1 == self.norm.blocks << exact_log2(serial)):
                    m.d.sync += [loading.eq(0), self.loaded.eq(1), part.eq(0)]
        with m.If(self.begin):
            m.d.sync += [loading.eq(1), self.loaded.eq(0)]
        return m
