# SPDX-License-Identifier: Apache-2.0
"""GELU as ReLU minus a small symmetric correction from a table (Edge-MoE, section IV-C)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES
from golden.spec.tables import GELU_DELTA, GELU_IN_FRAC, GELU_LIMIT, GELU_OUT_FRAC, GELU_STEP_LOG2
from hw.core.requant import G_BITS, each

STEP = GELU_IN_FRAC - GELU_STEP_LOG2
"""log2 of input codes between two table points."""
GAP = GELU_OUT_FRAC - GELU_IN_FRAC
_POINTS = len(GELU_DELTA) - 1
_INDEX_BITS = (_POINTS - 1).bit_length()
_SLOPES = [b - a for a, b in zip(GELU_DELTA, GELU_DELTA[1:], strict=False)]
_T_BITS = max(GELU_DELTA).bit_length()
_SLOPE_BITS = max(max(_SLOPES), -min(_SLOPES)).bit_length() + 1
_ENTRY = data.StructLayout({"point": _T_BITS, "slope": signed(_SLOPE_BITS)})


class Gelu(wiring.Component):
    """``lanes`` values a cycle: ``g = (max(u, 0) << 5) - delta(|u|)``, or ``u`` itself (golden/README.md, GELU). ::

        u -> [ |u| ] -> [ table: point, slope ] -> [ slope * f ] -> [ delta ] -> [ (max(u, 0) << 5) - delta | u ]

    Timing: free-running, ``o`` follows its inputs by LATENCY cycles. II = 1.
    Domain: all int16.
    Twin: ``golden.ops.gelu.gelu``.

    Members: ``u`` In(each lane), ``enable`` In (0: ``o`` is ``u``), ``o`` Out(each lane).
    """

    LATENCY = 5
    II = 1

    u: data.View
    enable: Signal
    o: data.View

    def __init__(self, lanes: int = LANES):
        self.lanes = lanes
        super().__init__({"u": In(each(lanes, signed(16))), "enable": In(1), "o": Out(each(lanes, signed(G_BITS)))})

    def elaborate(self, platform):
        m = Module()
        rows = [{"point": point, "slope": slope} for point, slope in zip(GELU_DELTA, _SLOPES, strict=False)]
        rows += [{"point": 0, "slope": 0}] * ((1 << _INDEX_BITS) - _POINTS)

        enable = self.enable
        for stage in range(1, self.LATENCY):
            register = Signal(name=f"s{stage}_enable", reset_less=True)
            m.d.sync += register.eq(enable)
            enable = register

        for n in range(self.lanes):
            def register(name, shape, n=n):
                return Signal(shape, name=f"{name}_{n}", reset_less=True)

            # Stage 1: magnitude.
            u = [self.u[n]] + [register(f"s{stage}_u", signed(16)) for stage in range(1, self.LATENCY)]
            m.d.sync += [after.eq(before) for before, after in zip(u, u[1:], strict=False)]
            s1_a = register("s1_a", 16)
            m.d.sync += s1_a.eq(Mux(self.u[n] < 0, -self.u[n], self.u[n]))

            # Stage 2: table, one for two lanes (block memories have two ports); from the limit on the correction is 0.
            if n % 2 == 0:
                table = m.submodules[f"table{n // 2}"] = memory.Memory(shape=_ENTRY, depth=len(rows), init=rows)
            port = table.read_port()
            s2_f, s2_over = register("s2_f", STEP), register("s2_over", 1)
            m.d.comb += port.addr.eq(s1_a[STEP:])
            m.d.sync += [s2_f.eq(s1_a[:STEP]), s2_over.eq(s1_a >= GELU_LIMIT << GELU_IN_FRAC)]

            # Stage 3: interpolation product.
            s3_part, s3_point = register("s3_part", signed(_SLOPE_BITS + STEP)), register("s3_point", _T_BITS)
            m.d.sync += [
                s3_part.eq(Mux(s2_over, 0, port.data.slope * s2_f)), s3_point.eq(Mux(s2_over, 0, port.data.point)),
            ]

            # Stage 4: delta = (point * 16 + slope * f + 8) >> 4.
            s4_delta = register("s4_delta", _T_BITS)
            m.d.sync += s4_delta.eq((Cat(Const(1 << STEP >> 1, STEP), s3_point) + s3_part) >> STEP)

            # Stage 5.
            relu = Mux(u[4] < 0, 0, u[4]) << GAP
            s5_g = register("s5_g", signed(G_BITS))
            m.d.sync += s5_g.eq(Mux(enable, relu - s4_delta, u[4]))
            m.d.comb += self.o[n].eq(s5_g)
        return m
