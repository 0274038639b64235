# SPDX-License-Identifier: Apache-2.0
"""Matrix array: the multiply-accumulate array on which every linear layer, Q x K and P x V run."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.latency import COLUMN
from golden.spec.machine import TN, MachineConfig
from golden.spec.status import Status
from hw.arith.packed_products import column, delayed, pack, unpacked
from hw.interfaces import EXP_BITS, array_beat, lane_bits

DRAIN_BANKS = 8
"""Finished tiles that wait for output: enough to cover the round trip of a credit while tiles of scores leave; more
cost nothing, since LUT memories are deeper."""


def drain_beat(cfg: MachineConfig) -> data.StructLayout:
    """The finished accumulators of one lane."""
    return data.StructLayout({"value": data.ArrayLayout(signed(32), TN), "lane": unsigned(lane_bits(cfg))})


class MatrixArray(wiring.Component):
    """MAC array: tm token lanes times TN channels over tk inputs a cycle, accumulated to tiles of int32.

    ``acc = sum over inputs of (byte << e) * weight``, ``shift8`` joins the planes of wide operands (golden/README.md,
    Operands). ::

        s1       x = (a1 << 18) + a0 for each pair of lanes and input | weights
        s2       inputs of a column's first multiplier; of the n-th n cycles later
        s3       x * w: two products in one multiplier                       tm/2 * TN * tk
        s4..s7   sums down each column of four multipliers (tk 2: of two, s4 s5)
        s8 s9    low and high field taken apart, columns added               (tk 8: one stage, tk 2 and 4: none)
        s10      << exponent of the lane
        s11      accumulator = (0 | accumulator | accumulator << 8) + s10
        s12      tile complete: copied to the next drain bank
        s13      tm beats, a lane each -> o

    Timing: LATENCY cycles from the transfer of a beat with ``last`` to the tile's first beat at ``o`` (drain empty).
    II = 1 beat; ``i.ready`` is always 1 and a tile may follow the one before without a gap. Tiles leave at one beat a
    cycle, tm cycles each; ``o.valid`` never falls within a tile. ``release`` follows a bank's last beat, so the credits
    sustain a tile every max(tm, (LATENCY + tm) / DRAIN_BANKS) cycles.
    Domain: operands -128..255, weights -128..127; accumulators are int32 and wrap. A beat with ``last`` needs a credit:
    DRAIN_BANKS at reset, one more with each ``release``; without it ``fault`` pulses (INTERNAL).
    Reference model: ``golden.ops.matmul``.

    Members: ``i`` In(stream array_beat), ``o`` Out(stream drain_beat), ``release``, ``idle`` (no beat in the pipeline
    and no tile in a bank), ``fault``, ``fault_code``.
    """

    II = 1

    i: stream.Interface
    o: stream.Interface
    release: Signal
    idle: Signal
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.column = min(COLUMN, cfg.tk)
        self.SUM_STAGES = self.column + (cfg.tk // self.column - 1).bit_length()
        self.LATENCY = self.SUM_STAGES + 7
        super().__init__({"i": In(stream.Signature(array_beat(cfg))),
                          "o": Out(stream.Signature(drain_beat(cfg))), "release": Out(1), "idle": Out(1),
                          "fault": Out(1), "fault_code": Out(8)})

    def elaborate(self, platform):
        m = Module()
        cfg, beat = self.cfg, self.i.p
        m.d.comb += [self.i.ready.eq(1), self.fault_code.eq(Status.INTERNAL)]

        # Stage 1: operands packed by pairs of lanes, weights. Stage 2: inputs of the multipliers, later down a column.
        s2_x = [[delayed(m, f"x_{pair}_{j}", pack(beat.operand[2 * pair][j], beat.operand[2 * pair + 1][j]),
                         2 + j % self.column) for j in range(cfg.tk)] for pair in range(cfg.tm // 2)]
        s2_w = [[delayed(m, f"w_{c}_{j}", beat.weight[c][j], 2 + j % self.column) for j in range(cfg.tk)]
                for c in range(TN)]

        # Control bits that accompany the data, up to s10.
        control = data.StructLayout({"valid": 1, "first": 1, "shift8": 1, "last": 1,
                                     "exp": data.ArrayLayout(unsigned(EXP_BITS), cfg.tm)})
        stages = [Signal(control, name=f"control_s{n + 1}") for n in range(4 + self.SUM_STAGES)]
        m.d.sync += [stages[0].valid.eq(self.i.valid), stages[0].first.eq(beat.first), stages[0].shift8.eq(beat.shift8),
                     stages[0].last.eq(beat.last), stages[0].exp.eq(beat.exp)]
        m.d.sync += [after.eq(before) for before, after in zip(stages, stages[1:], strict=False)]

        scaled = stages[-1]
        acc = [[Signal(signed(32), name=f"acc_{lane}_{c}", reset_less=True) for c in range(TN)]
               for lane in range(cfg.tm)]
        for pair in range(cfg.tm // 2):
            for c in range(TN):
                low, high, carry = self._cell(m, f"{pair}_{c}", s2_x[pair], s2_w[c])

                # Stage 10: block exponents; the high field still lacks the carry of one column.
                for lane, value in ((2 * pair, low), (2 * pair + 1, high + carry)):
                    exp = stages[-2].exp[lane]
                    width = len(low) + 1 + (1 << EXP_BITS) - 1
                    product = Signal(signed(width), name=f"scaled_{lane}_{c}", reset_less=True)
                    m.d.sync += product.eq(value << exp)

                    # Stage 11: accumulate.
                    total = acc[lane][c]
                    with m.If(scaled.valid):
                        m.d.sync += total.eq(Mux(scaled.first, 0, Mux(scaled.shift8, total << 8, total)) + product)

        self._drain(m, acc, scaled.valid & scaled.last, Cat(stage.valid for stage in stages).any())
        return m

    def _cell(self, m, name, xs, ws):
        """One channel of one pair of lanes: the low sum, the high sum and a carry that still belongs to the latter."""
        packed = [column(m, f"{n}_{name}", xs[n:n + self.column], ws[n:n + self.column])
                  for n in range(0, len(xs), self.column)]
        # The adders of the upper fields take the carries; n columns have n - 1 adders, so one carry is left over.
        low, high, carry = map(list, zip(*map(unpacked, packed), strict=True))
        while len(low) > 1:
            count = len(low) // 2
            sums = [(Cat(Const(1, 1), high[2 * n]).as_signed() + Cat(carry[n], high[2 * n + 1]).as_signed()) >> 1
                    for n in range(count)]
            low = self._register(m, f"low{count}_{name}", _pairs(low))
            high = self._register(m, f"high{count}_{name}", sums)
            carry = self._register(m, f"carry{count}_{name}", carry[count:])
        return low[0], high[0], carry[0]

    @staticmethod
    def _register(m, name, values):
        registers = [Signal(value.shape(), name=f"{name}_{n}", reset_less=True) for n, value in enumerate(values)]
        m.d.sync += [register.eq(value) for register, value in zip(registers, values, strict=True)]
        return registers

    def _drain(self, m, acc, completing, in_flight):
        """Stages 12 and 13: banks filled and emptied in round-robin order, a memory for each lane."""
        beats = self.cfg.tm
        completed, full = Signal(), Signal(DRAIN_BANKS)
        write_bank, read_bank = Signal(range(DRAIN_BANKS)), Signal(range(DRAIN_BANKS))
        number = Signal(range(beats))
        lanes = []
        for n in range(beats):
            store = m.submodules[f"lane{n}"] = memory.Memory(shape=32 * TN, depth=DRAIN_BANKS, init=[])
            write_port, read_port = store.write_port(), store.read_port(domain="comb")
            # The accumulators live for one more cycle: the next tile's first beat arrives at the same edge.
            m.d.comb += [write_port.addr.eq(write_bank), write_port.data.eq(Cat(acc[n])), write_port.en.eq(completed),
                         read_port.addr.eq(read_bank)]
            lanes.append(read_port.data)

        free, moving, emptied = Signal(), Signal(), Signal()
        value = Signal(32 * TN, reset_less=True)
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready), moving.eq(free & full.bit_select(read_bank, 1)),
            emptied.eq(moving & (number == beats - 1)), self.o.p.value.as_value().eq(value),
        ]
        with m.If(free):
            m.d.sync += [self.o.valid.eq(moving), value.eq(Array(lanes)[number]), self.o.p.lane.eq(number)]
        m.d.sync += [
            number.eq(number + moving), self.release.eq(emptied),
            write_bank.eq(write_bank + completed), read_bank.eq(read_bank + emptied), completed.eq(completing),
            full.eq(full & ~(emptied << read_bank)[:DRAIN_BANKS] | (completed << write_bank)[:DRAIN_BANKS]),
            self.fault.eq(completed & full.bit_select(write_bank, 1) & ~(emptied & (read_bank == write_bank))),
            self.idle.eq(~(self.i.valid | in_flight | completing | completed | full.any() | self.o.valid)),
        ]


def _pairs(values):
    return [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
