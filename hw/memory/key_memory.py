# SPDX-License-Identifier: Apache-2.0
"""Key memory: K tiles in the layout that the array reads, 32 keys by tk head channels a row."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import TN, MachineConfig
from hw.interfaces import KEY_WRITE, READ_LATENCY


class KeyMemory(wiring.Component):
    """Key memory: writes 16 head channels of a key into its column of a K tile; reads an array step of 32 keys a cycle.

    ::

        i -> [ payload | one-hot column | step ] -> [ array: TN columns of tk bytes ] -> [ output register ] -> o
             [ 0       | all columns    | sweep ]     ^ row, en

    Row ``tile * steps + step``, byte ``c * tk + j`` = key c, head channel ``step * tk + j`` (golden.spec.tiling).
    Timing: LATENCY = READ_LATENCY from ``row``, ``en`` to ``o``; ``o`` keeps it until the next read's data. A write
    takes II = ``cfg.steps`` cycles; a read sees writes transferred WRITE_LATENCY or more cycles before. The bytes read
    a cycle are TN * tk, whatever the number of token lanes. After a reset the write registers sweep zeros through
    all rows: for SWEEP = ``cfg.kv_rows`` cycles no write is accepted, and reads give zeros at once.
    Domain: tiles below ``cfg.kv_tiles`` (the epilogue refuses others). With fewer ``columns`` than TN it is a bank.
    Reference model: the K memory of ``golden.iss``.

    Members: ``i`` In(stream KEY_WRITE), ``row`` In, ``en`` In, ``o`` Out(columns * tk * 8 bits).
    """

    LATENCY = READ_LATENCY

    i: stream.Interface
    row: Signal
    en: Signal
    o: Signal

    def __init__(self, cfg: MachineConfig, columns: int = TN):
        self.cfg, self.columns = cfg, columns
        self.II = cfg.steps
        self.WRITE_LATENCY = 1 + cfg.steps
        self.SWEEP = cfg.kv_rows
        super().__init__({"i": In(stream.Signature(KEY_WRITE)), "row": In(range(cfg.kv_rows)), "en": In(1),
                          "o": Out(8 * cfg.tk * columns)})

    def elaborate(self, platform):
        m = Module()
        steps, granule = self.cfg.steps, 8 * self.cfg.tk

        # Write: the payload stays in s1 for `steps` cycles and shifts down by one step in each. A reset leaves zeros
        # for all columns of row 0 there, and the later rows follow.
        s1_ready, s1_step = Signal(), Signal(range(max(2, steps)))
        s1_column, s1_tile = Signal(self.columns, init=-1), Signal(range(self.cfg.kv_tiles))
        s1_data, swept, zero = Signal(steps * granule), Signal(), Signal(init=1)
        s1_row = Cat(s1_step, s1_tile) if steps > 1 else s1_tile
        m.d.comb += self.i.ready.eq(s1_ready)
        with m.If(~swept):
            m.d.sync += s1_row.eq(s1_row + 1)
            with m.If(s1_row == self.cfg.kv_rows - 1):
                m.d.sync += [swept.eq(1), s1_ready.eq(1), s1_column.eq(0)]
        with m.Elif(s1_ready if steps > 1 else 1):
            m.d.sync += [
                s1_ready.eq(~self.i.valid if steps > 1 else 1), s1_step.eq(0), s1_tile.eq(self.i.p.tile),
                s1_data.eq(self.i.p.data.as_value()),
                s1_column.eq(Mux(self.i.valid, 1 << self.i.p.column, 0)),
            ]
        with m.Else():
            m.d.sync += [s1_ready.eq(s1_step == steps - 2), s1_step.eq(s1_step + 1), s1_data.eq(s1_data >> granule)]

        store = m.submodules.store = memory.Memory(shape=granule * self.columns, depth=self.cfg.kv_rows, init=[])
        write_port, read_port = store.write_port(granularity=granule), store.read_port()
        m.d.comb += [
            write_port.addr.eq(s1_row), write_port.en.eq(s1_column),
            write_port.data.eq(s1_data[:granule].replicate(self.columns)),
            read_port.addr.eq(self.row), read_port.en.eq(self.en),
        ]

        # Read: output register. A read finds the last zeros from the second cycle after the sweep on.
        s1_en, o = Signal(), Signal(len(self.o), reset_less=True)
        m.d.comb += self.o.eq(o)
        m.d.sync += [s1_en.eq(self.en), zero.eq(~swept)]
        with m.If(zero):
            m.d.sync += o.eq(0)
        with m.Elif(s1_en):
            m.d.sync += o.eq(read_port.data)
        return m
