# SPDX-License-Identifier: Apache-2.0
"""Activations as ReLU minus a small symmetric correction from a table (Edge-MoE, section IV-C, for GELU)."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.activations import (
    ACT_IN_FRAC,
    ACT_OUT_FRAC,
    ACT_SHIFT_MAX,
    ACTIVATION_BITS,
    BY_CODE,
    CHORDS,
    CURVED,
    STEPS_LOG2,
)
from golden.spec.machine import LANES
from hw.vector.requantize import G_BITS, each

STEP = ACT_IN_FRAC + STEPS_LOG2[1]
"""log2 of input codes between two points of the coarse tables, with ``act_shift`` 0; the fine ones' is one less."""
GAP = ACT_OUT_FRAC - ACT_IN_FRAC
SHIFT_BITS = ACT_SHIFT_MAX.bit_length()
MAGNITUDE_BITS = 15 + ACT_SHIFT_MAX
_INDEX_BITS = (CHORDS - 1).bit_length()
_ROWS = [{"point": a, "slope": b - a} for kind in CURVED for a, b in zip(kind.delta, kind.delta[1:], strict=False)]
_T_BITS = max(row["point"] for row in _ROWS).bit_length()
_SLOPE_BITS = max(abs(row["slope"]) for row in _ROWS).bit_length() + 1
_ENTRY = data.StructLayout({"point": _T_BITS, "slope": signed(_SLOPE_BITS)})
_BASE = range(max(2, len(CURVED)))
assert ACT_SHIFT_MAX == 4 and STEPS_LOG2 == (-5, -4) and all(kind.delta[-1] == 0 for kind in CURVED)


class Activation(wiring.Component):
    """``lanes`` values a cycle: ``g = (max(u, 0) << 5 + s) - delta(|u| << s)``, s = ``act_shift``, or ``u`` itself
    (golden/README.md, Activations). ::

        u -> [ |u << s| ] -> [ table: point, slope ] -> [ slope * f ] -> [ delta ] ------------------> [ - ]
                                                                         [ max(u, 0) << 5 + s | u ] ----^

    A magnitude travels as ``b``, the bits of u << s, inverted below zero: one less than |u| << s there. The one comes
    back with f, 0..32: a chord's end is the next chord's beginning. The table holds ``CURVED`` one after the other.
    Timing: free-running, ``o`` follows its inputs by LATENCY cycles. II = 1.
    Domain: all int16; ``activation`` a code of ``BY_CODE``; ``act_shift`` 0..4, and 0 with code 0.
    Reference model: ``golden.ops.activation.activate``.

    Members: ``u`` In(each lane), ``activation`` In (0: ``o`` is ``u``), ``act_shift`` In, ``o`` Out(each lane).
    """

    LATENCY = 5
    II = 1

    u: data.View
    activation: Signal
    act_shift: Signal
    o: data.View

    def __init__(self, lanes: int = LANES):
        self.lanes = lanes
        super().__init__({"u": In(each(lanes, signed(16))), "activation": In(ACTIVATION_BITS),
                          "act_shift": In(SHIFT_BITS), "o": Out(each(lanes, signed(G_BITS)))})

    def elaborate(self, platform):
        m = Module()
        passes, straight, fine, base = self._decoded(m)

        for n in range(self.lanes):
            def register(name, shape, n=n):
                return Signal(shape, name=f"{name}_{n}", reset_less=True)

            # Stage 1: magnitude.
            u, sign = self.u[n], self.u[n][-1]
            few = Array([u, u << 1, u << 2, u << 3])[self.act_shift[:2]]
            moved = Mux(self.act_shift[2], u << ACT_SHIFT_MAX, few)
            b = [register(f"s{stage}_b", MAGNITUDE_BITS) for stage in range(1, 4)]
            below = [register(f"s{stage}_below", 1) for stage in range(1, 4)]
            m.d.sync += [b[0].eq(moved ^ sign.replicate(MAGNITUDE_BITS)), below[0].eq(sign)]
            for stages in (b, below):
                m.d.sync += [after.eq(before) for before, after in zip(stages, stages[1:], strict=False)]

            # Stage 2: table, one for two lanes (block memories have two ports); after its end the correction is 0.
            if n % 2 == 0:
                table = m.submodules[f"table{n // 2}"] = memory.Memory(shape=_ENTRY, depth=len(_ROWS), init=_ROWS)
            port = table.read_port()
            fine_end, end = STEP - 1 + _INDEX_BITS, STEP + _INDEX_BITS
            s2_f, s2_over = register("s2_f", STEP + 1), register("s2_over", 1)
            m.d.comb += port.addr.eq(Cat(Mux(fine, b[0][STEP - 1:fine_end], b[0][STEP:end]), base))
            m.d.sync += [
                s2_f.eq(Mux(fine, Cat(below[0], b[0][:STEP - 1]), b[0][:STEP]) + below[0]),
                s2_over.eq(straight | b[0][end:].any() | fine & b[0][fine_end]),
            ]

            # Stage 3: interpolation product.
            s3_part, s3_point = register("s3_part", signed(_SLOPE_BITS + STEP)), register("s3_point", _T_BITS)
            m.d.sync += [
                s3_part.eq(Mux(s2_over, 0, port.data.slope * s2_f)), s3_point.eq(Mux(s2_over, 0, port.data.point)),
            ]

            # Stage 4: delta = (point * 32 + slope * f + 16) >> 5, and what it is taken from.
            s4_delta, s4_from = register("s4_delta", _T_BITS), register("s4_from", signed(G_BITS))
            positive = Mux(below[-1], 0, b[-1]) << GAP
            passed = (b[-1][:16] ^ below[-1].replicate(16)).as_signed()
            delta = (Cat(Const(1 << STEP >> 1, STEP), s3_point) + s3_part) >> STEP
            m.d.sync += [s4_delta.eq(delta), s4_from.eq(Mux(passes, passed, positive))]

            # Stage 5.
            s5_g = register("s5_g", signed(G_BITS))
            m.d.sync += s5_g.eq(s4_from - s4_delta)
            m.d.comb += self.o[n].eq(s5_g)
        return m

    def _decoded(self, m):
        """What follows from the code: at stage 4 whether ``u`` passes; at stage 2 whether there is no table, whether
        it is a fine one, and its number."""
        passes = self.activation == 0
        for stage in range(1, 4):
            register = Signal(name=f"s{stage}_passes", reset_less=True)
            m.d.sync += register.eq(passes)
            passes = register
        straight, fine, base = Signal(reset_less=True), Signal(reset_less=True), Signal(_BASE, reset_less=True)
        with m.Switch(self.activation):
            for kind in BY_CODE:
                with m.Case(kind.code):
                    m.d.sync += [
                        straight.eq(not kind.delta), fine.eq(kind.step_log2 == STEPS_LOG2[0]),
                        base.eq(CURVED.index(kind) if kind.delta else 0),
                    ]
        return passes, straight, fine, base
