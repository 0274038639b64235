# SPDX-License-Identifier: Apache-2.0
"""Lane buffer: the operand rows of one token lane of the array."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import SLICE, MachineConfig
from golden.spec.tiling import SLICES_PER_ROW
from hw.interfaces import EXP_BITS, LINE_BITS, OPERAND_BITS, OPERAND_ROW, READ_LATENCY


def pointer_bits(config: MachineConfig) -> int:
    """Bits of a pointer to a lane row: one more than its address, so that full and empty differ."""
    return config.lane_rows.bit_length() + 1


class LaneBuffer(wiring.Component):
    """Operand buffer of a lane: takes rows of 64 bytes, gives the ``tk`` operands of a step and their block exponent.

    ::

        write_row, write_en, write_data -> [ 2 * lane_rows rows ] -> row -> [ quarter, step, sign -> o, exp ]
        row, en ---------------------------^                                 ^ one cycle later

    The two halves are one circular buffer: the loader writes ahead of the array by as many rows as are free.
    Timing: LATENCY = READ_LATENCY from ``en`` to ``o``. II = 1. A row may be read the cycle after it was written.
    Domain: bytes are -128..127, or 0..255 with ``unsigned``; without ``present`` ``o`` is zero.
    Reference model: none, it changes nothing.

    Members: ``write_row``, ``write_en``, ``write_data`` In(OPERAND_ROW); ``row``, ``quarter``, ``step``,
    ``unsigned``, ``present``, ``en`` In; ``o`` Out(tk operands), ``exp`` Out.
    """

    LATENCY = READ_LATENCY
    II = 1

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "write_row": In(range(2 * cfg.lane_rows)), "write_en": In(1), "write_data": In(OPERAND_ROW),
            "row": In(range(2 * cfg.lane_rows)), "quarter": In(2), "step": In(3), "unsigned": In(1), "present": In(1),
            "en": In(1), "o": Out(data.ArrayLayout(unsigned(OPERAND_BITS), cfg.tk)), "exp": Out(EXP_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        cfg = self.cfg
        store = m.submodules.store = memory.Memory(
            shape=LINE_BITS + 2 * EXP_BITS, depth=2 * cfg.lane_rows, init=[])
        write_port, read_port = store.write_port(), store.read_port()
        m.d.comb += [
            write_port.addr.eq(self.write_row), write_port.data.eq(self.write_data.as_value()),
            write_port.en.eq(self.write_en), read_port.addr.eq(self.row), read_port.en.eq(self.en),
        ]

        # Stage 1: the array read.
        s1_quarter, s1_step, s1_unsigned, s1_present = Signal(2), Signal(3), Signal(), Signal()
        m.d.sync += [s1_quarter.eq(self.quarter), s1_step.eq(self.step), s1_unsigned.eq(self.unsigned),
                     s1_present.eq(self.present)]

        # Stage 2: the step's bytes, with a sign.
        row = OPERAND_ROW(read_port.data)
        step_bits = 8 * cfg.tk
        chosen = Signal(step_bits)
        with m.Switch(Cat(s1_step[:(cfg.steps - 1).bit_length()], s1_quarter)):
            for place in range(SLICES_PER_ROW * cfg.steps):
                with m.Case(place):
                    m.d.comb += chosen.eq(row.data[place * step_bits:(place + 1) * step_bits])
        m.d.sync += self.exp.eq(Mux(s1_quarter[1], row.exp[1], row.exp[0]))
        for j in range(cfg.tk):
            byte = chosen[8 * j:8 * j + 8]
            m.d.sync += self.o[j].eq(Mux(s1_present, Cat(byte, byte[7] & ~s1_unsigned), 0))
        return m


assert SLICES_PER_ROW * SLICE * 8 == LINE_BITS
