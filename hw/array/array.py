# SPDX-License-Identifier: Apache-2.0
"""Matrix array: the multiply-accumulate array on which every linear layer, Q x K and P x V run."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import TN, MachineConfig
from golden.spec.status import Status
from hw.interfaces import EXP_BITS, OPERAND_BITS, array_beat, lane_bits

FIELD = 18
"""Bits of the lower of two packed products; four products of a 9-bit operand and a weight of at most 127 fit."""
GROUP = 4
"""Packed products that are summed before they are unpacked."""
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

        s1    x = (a1 << 18) + a0 for each pair of lanes and input | weights
        s2    x * w: two products in one multiplier                       tm/2 * TN * tk
        s3 s4 sums of four packed products (tk 2: of two)
        s5 s6 low and high field taken apart, groups added                (tk 8: one stage, tk 2 and 4: none)
        s7    << exponent of the lane
        s8    accumulator = (0 | accumulator | accumulator << 8) + s7
        s9    tile complete: copied to the next drain bank
        s10   tm beats, a lane each -> o

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
        self.group = min(GROUP, cfg.tk)
        self.SUM_STAGES = (cfg.tk - 1).bit_length()  # s3.. of the diagram
        self.LATENCY = self.SUM_STAGES + 6
        super().__init__({"i": In(stream.Signature(array_beat(cfg))),
                          "o": Out(stream.Signature(drain_beat(cfg))), "release": Out(1), "idle": Out(1),
                          "fault": Out(1), "fault_code": Out(8)})

    def elaborate(self, platform):
        m = Module()
        cfg, beat = self.cfg, self.i.p
        m.d.comb += [self.i.ready.eq(1), self.fault_code.eq(Status.INTERNAL)]

        # Stage 1: operands packed by pairs of lanes, weights.
        s1_x = [[Signal(signed(FIELD + OPERAND_BITS), name=f"s1_x_{pair}_{j}", reset_less=True)
                 for j in range(cfg.tk)] for pair in range(cfg.tm // 2)]
        s1_w = [[Signal(signed(8), name=f"s1_w_{c}_{j}", reset_less=True) for j in range(cfg.tk)] for c in range(TN)]
        for pair, row in enumerate(s1_x):
            for j, x in enumerate(row):
                low, high = beat.operand[2 * pair][j], beat.operand[2 * pair + 1][j]
                sign = low[-1]
                m.d.sync += x.eq(Cat(low, sign.replicate(FIELD - OPERAND_BITS), (high - sign)[:OPERAND_BITS]))
        for c, row in enumerate(s1_w):
            m.d.sync += [w.eq(beat.weight[c][j]) for j, w in enumerate(row)]

        # Control bits that accompany the data, up to s7.
        control = data.StructLayout({"valid": 1, "first": 1, "shift8": 1, "last": 1,
                                     "exp": data.ArrayLayout(unsigned(EXP_BITS), cfg.tm)})
        stages = [Signal(control, name=f"control_s{n + 1}") for n in range(3 + self.SUM_STAGES)]
        m.d.sync += [stages[0].valid.eq(self.i.valid), stages[0].first.eq(beat.first), stages[0].shift8.eq(beat.shift8),
                     stages[0].last.eq(beat.last), stages[0].exp.eq(beat.exp)]
        m.d.sync += [after.eq(before) for before, after in zip(stages, stages[1:], strict=False)]

        s7 = stages[-1]
        acc = [[Signal(signed(32), name=f"acc_{lane}_{c}", reset_less=True) for c in range(TN)]
               for lane in range(cfg.tm)]
        for pair in range(cfg.tm // 2):
            for c in range(TN):
                low, high, carry = self._cell(m, f"{pair}_{c}", s1_x[pair], s1_w[c])

                # Stage 7: block exponents; the high field still lacks the borrow of one group.
                for lane, value in ((2 * pair, low), (2 * pair + 1, high + carry)):
                    exp = stages[-2].exp[lane]
                    width = len(low) + 1 + (1 << EXP_BITS) - 1
                    s7_value = Signal(signed(width), name=f"s7_{lane}_{c}", reset_less=True)
                    m.d.sync += s7_value.eq(value << exp)

                    # Stage 8: accumulate.
                    total = acc[lane][c]
                    with m.If(s7.valid):
                        m.d.sync += total.eq(Mux(s7.first, 0, Mux(s7.shift8, total << 8, total)) + s7_value)

        self._drain(m, acc, s7.valid & s7.last, Cat(stage.valid for stage in stages).any())
        return m

    def _cell(self, m, name, xs, ws):
        """One channel of one pair of lanes: the low sum, the high sum and a carry that still belongs to the latter."""
        # Stage 2: packed products. Stages 3, 4: sums of GROUP of them.
        terms = [x * w for x, w in zip(xs, ws, strict=True)]
        terms = self._register(m, f"s2_{name}", terms)
        groups = [terms[n:n + self.group] for n in range(0, len(terms), self.group)]
        while len(groups[0]) > 1:
            groups = [self._register(m, f"sum{len(group)}_{n}_{name}", _pairs(group)) for n, group in enumerate(groups)]
        packed = [group[0] for group in groups]

        # A low field below zero has borrowed one from the high field: bit 17 gives it back. The adders of the
        # high fields take these bits as carries; n groups have n - 1 adders, so one bit is left over.
        low = [t[:FIELD].as_signed() for t in packed]
        high, carry = [t[FIELD:].as_signed() for t in packed], [t[FIELD - 1] for t in packed]
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
        """Stages 9 and 10: banks filled and emptied in round-robin order, a memory for each lane."""
        beats = self.cfg.tm
        s8_last, full = Signal(), Signal(DRAIN_BANKS)
        write_bank, read_bank = Signal(range(DRAIN_BANKS)), Signal(range(DRAIN_BANKS))
        number = Signal(range(beats))
        lanes = []
        for n in range(beats):
            store = m.submodules[f"lane{n}"] = memory.Memory(shape=32 * TN, depth=DRAIN_BANKS, init=[])
            write_port, read_port = store.write_port(), store.read_port(domain="comb")
            # The accumulators live for one more cycle: the next tile's first beat arrives at the same edge.
            m.d.comb += [write_port.addr.eq(write_bank), write_port.data.eq(Cat(acc[n])), write_port.en.eq(s8_last),
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
            write_bank.eq(write_bank + s8_last), read_bank.eq(read_bank + emptied), s8_last.eq(completing),
            full.eq(full & ~(emptied << read_bank)[:DRAIN_BANKS] | (s8_last << write_bank)[:DRAIN_BANKS]),
            self.fault.eq(s8_last & full.bit_select(write_bank, 1) & ~(emptied & (read_bank == write_bank))),
            self.idle.eq(~(self.i.valid | in_flight | completing | s8_last | full.any() | self.o.valid)),
        ]


def _pairs(values):
    return [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
