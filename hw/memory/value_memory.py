# SPDX-License-Identifier: Apache-2.0
"""Value memory: V tiles in the layout that the array reads, 32 head channels by tk keys a row."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.machine import LANES, TN, MachineConfig
from hw.interfaces import READ_LATENCY, VALUE_WRITE


class ValueMemory(wiring.Component):
    """Value memory: writes 16 head channels of one key into a V tile; reads one array step of tk keys a cycle.

    ::

        i -> [ payload ] -> [ tk x 2 arrays of 16 bytes: (key of the step, half of the channels) ] -> [ reg ] -> o
             [ sweep: 0 ]                             ^ row, en

    Row ``tile * steps + step``, byte ``c * tk + j`` = head channel c, key ``step * tk + j`` (golden.spec.tiling).
    Timing: LATENCY = READ_LATENCY from ``row``, ``en`` to ``o``; ``o`` keeps it until the next read's data. Writes:
    II = 1; a read sees writes transferred WRITE_LATENCY or more cycles before. The bytes read a cycle are TN * tk, for
    any number of token lanes. After a reset the write registers sweep zeros through all rows: for SWEEP =
    ``cfg.kv_rows`` cycles no write is accepted, and reads give zeros at once.
    Domain: tiles below ``cfg.kv_tiles`` (the epilogue refuses others). With fewer ``keys`` than tk it is a bank: a
    position is then a step and a key of the bank.
    Reference model: the V memory of ``golden.iss``.

    Members: ``i`` In(stream VALUE_WRITE), ``row`` In, ``en`` In, ``o`` Out(TN * keys * 8 bits).
    """

    LATENCY = READ_LATENCY
    WRITE_LATENCY = 2
    II = 1

    i: stream.Interface
    row: Signal
    en: Signal
    o: Signal

    def __init__(self, cfg: MachineConfig, keys: int | None = None):
        self.cfg, self.keys = cfg, keys or cfg.tk
        self.SWEEP = cfg.kv_rows
        super().__init__({"i": In(stream.Signature(VALUE_WRITE)), "row": In(range(cfg.kv_rows)), "en": In(1),
                          "o": Out(8 * TN * self.keys)})

    def elaborate(self, platform):
        m = Module()
        tk = self.keys
        key_log2, step_log2 = exact_log2(tk), exact_log2(self.cfg.steps)

        # Write, stage 1: a position is a step and a key within it; select one of the 2 * tk arrays.
        # A reset leaves zeros for all arrays of row 0 there, and the later rows follow.
        s1_row, s1_data = Signal(range(self.cfg.kv_rows)), Signal(8 * LANES)
        s1_select, swept, zero = Signal(2 * tk, init=-1), Signal(), Signal(init=1)
        m.d.comb += self.i.ready.eq(swept)
        with m.If(swept):
            m.d.sync += [
                s1_row.eq(Cat(self.i.p.position[key_log2:key_log2 + step_log2], self.i.p.tile)),
                s1_data.eq(self.i.p.data.as_value()),
                s1_select.eq(self.i.valid << Cat(self.i.p.half, self.i.p.position[:key_log2])),
            ]
        with m.Else():
            m.d.sync += s1_row.eq(s1_row + 1)
            with m.If(s1_row == self.cfg.kv_rows - 1):
                m.d.sync += [swept.eq(1), s1_select.eq(0)]

        # A read finds the last zeros from the second cycle after the sweep on.
        s1_en, o = Signal(), Signal(len(self.o), reset_less=True)
        m.d.comb += self.o.eq(o)
        m.d.sync += [s1_en.eq(self.en), zero.eq(~swept)]
        for key in range(tk):
            for half in range(TN // LANES):
                store = m.submodules[f"key{key}_half{half}"] = memory.Memory(
                    shape=8 * LANES, depth=self.cfg.kv_rows, init=[])
                write_port, read_port = store.write_port(), store.read_port()
                m.d.comb += [
                    write_port.addr.eq(s1_row), write_port.data.eq(s1_data),
                    write_port.en.eq(s1_select[2 * key + half]),
                    read_port.addr.eq(self.row), read_port.en.eq(self.en),
                ]
                # Read: output register, interleaved to byte c * tk + key.
                with m.If(zero):
                    m.d.sync += o.eq(0)
                with m.Elif(s1_en):
                    for lane in range(LANES):
                        m.d.sync += o.word_select((LANES * half + lane) * tk + key, 8).eq(
                            read_port.data.word_select(lane, 8))
        return m
