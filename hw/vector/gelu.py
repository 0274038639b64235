# SPDX-License-Identifier: Apache-2.0
"""GELU unit: ReLU minus a small symmetric correction from a table (Edge-MoE, section IV-C)."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES
from golden.spec.tables import ACT_SHIFT_MAX, GELU_DELTA, GELU_IN_FRAC, GELU_LIMIT, GELU_OUT_FRAC, GELU_STEP_LOG2
from hw.lib.pipeline import delay
from hw.vector.requantize import G_BITS, each

STEP = GELU_IN_FRAC - GELU_STEP_LOG2
"""log2 of input codes between two table points, with ``act_shift`` 0."""
GAP = GELU_OUT_FRAC - GELU_IN_FRAC
SHIFT_BITS = ACT_SHIFT_MAX.bit_length()
MAGNITUDE_BITS = 15 + ACT_SHIFT_MAX
_POINTS = len(GELU_DELTA) - 1
_INDEX_BITS = (_POINTS - 1).bit_length()
_SLOPES = [b - a for a, b in zip(GELU_DELTA, GELU_DELTA[1:], strict=False)]
_T_BITS = max(GELU_DELTA).bit_length()
_SLOPE_BITS = max(max(_SLOPES), -min(_SLOPES)).bit_length() + 1
_ENTRY = data.StructLayout({"point": _T_BITS, "slope": signed(_SLOPE_BITS)})
assert ACT_SHIFT_MAX == 4 and STEP == 4 and GELU_DELTA[-1] == 0


class Gelu(wiring.Component):
    """GELU, ``lanes`` values a cycle: ``g = (max(u, 0) << 5 + s) - delta(|u| << s)``, s = ``act_shift``, or ``u``
    (golden/README.md, GELU). ::

        u -> [ |u << s| ] -> [ table: point, slope ] -> [ slope * f ] -> [ delta ] ------------------> [ - ]
                                                                         [ max(u, 0) << 5 + s | u ] ----^

    A magnitude travels as ``b``, the bits of u << s, inverted below zero: one less than |u| << s there. The one is
    added back with f, 0..16: a chord's end is the next chord's start.
    Timing: free-running, ``o`` follows its inputs by LATENCY cycles. II = 1.
    Domain: all int16; ``act_shift`` 0..4, and 0 without ``enable``.
    Reference model: ``golden.ops.gelu.gelu``.

    Members: ``u`` In(each lane), ``act_shift`` In, ``enable`` In (0: ``o`` is ``u``), ``o`` Out(each lane).
    """

    LATENCY = 5
    II = 1

    u: data.View
    act_shift: Signal
    enable: Signal
    o: data.View

    def __init__(self, lanes: int = LANES):
        self.lanes = lanes
        super().__init__({"u": In(each(lanes, signed(16))), "act_shift": In(SHIFT_BITS), "enable": In(1),
                          "o": Out(each(lanes, signed(G_BITS)))})

    def elaborate(self, platform):
        m = Module()
        rows = [{"point": point, "slope": slope} for point, slope in zip(GELU_DELTA, _SLOPES, strict=False)]
        rows += [{"point": 0, "slope": 0}] * ((1 << _INDEX_BITS) - _POINTS)

        enable = delay(m, self.enable, 3, "enable")
        for n in range(self.lanes):
            def register(name, shape, n=n):
                return Signal(shape, name=f"{name}_{n}", reset_less=True)

            # Stage 1: magnitude.
            u, sign = self.u[n], self.u[n][-1]
            few = Array([u, u << 1, u << 2, u << 3])[self.act_shift[:2]]
            moved = Mux(self.act_shift[2], u << ACT_SHIFT_MAX, few)
            s1_b, s1_below = register("s1_b", MAGNITUDE_BITS), register("s1_below", 1)
            m.d.sync += [s1_b.eq(moved ^ sign.replicate(MAGNITUDE_BITS)), s1_below.eq(sign)]
            s3_b, s3_below = delay(m, s1_b, 2, f"b_{n}"), delay(m, s1_below, 2, f"below_{n}")

            # Stage 2: table, one for two lanes (block memories have two ports); from the limit on the correction is 0,
            # and so is the last point's.
            if n % 2 == 0:
                table = m.submodules[f"table{n // 2}"] = memory.Memory(shape=_ENTRY, depth=len(rows), init=rows)
            port = table.read_port()
            s2_f, s2_over = register("s2_f", STEP + 1), register("s2_over", 1)
            m.d.comb += port.addr.eq(s1_b[STEP:])
            m.d.sync += [s2_f.eq(s1_b[:STEP] + s1_below), s2_over.eq(s1_b >= GELU_LIMIT << GELU_IN_FRAC)]

            # Stage 3: interpolation product.
            s3_part, s3_point = register("s3_part", signed(_SLOPE_BITS + STEP)), register("s3_point", _T_BITS)
            m.d.sync += [
                s3_part.eq(Mux(s2_over, 0, port.data.slope * s2_f)), s3_point.eq(Mux(s2_over, 0, port.data.point)),
            ]

            # Stage 4: delta = (point * 16 + slope * f + 8) >> 4, and what it is taken from.
            s4_delta, s4_from = register("s4_delta", _T_BITS), register("s4_from", signed(G_BITS))
            relu = Mux(s3_below, 0, s3_b) << GAP
            passed = (s3_b[:16] ^ s3_below.replicate(16)).as_signed()
            delta = (Cat(Const(1 << STEP >> 1, STEP), s3_point) + s3_part) >> STEP
            m.d.sync += [s4_delta.eq(Mux(enable, delta, 0)), s4_from.eq(Mux(enable, relu, passed))]

            # Stage 5.
            s5_g = register("s5_g", signed(G_BITS))
            m.d.sync += s5_g.eq(s4_from - s4_delta)
            m.d.comb += self.o[n].eq(s5_g)
        return m
