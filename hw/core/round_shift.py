# SPDX-License-Identifier: Apache-2.0
"""Rounding right shift with saturation, many lanes that share one shift amount, three short pipeline stages."""

from amaranth.hdl import Cat, Const, Mux, Signal, signed

LATENCY = 3
FINE = 3
"""Bits of the shift amount that the second stage takes; the first moves by multiples of 8."""


def round_shift(m, name: str, values: list, shift, bits: int) -> list[Signal]:
    """``sat_bits(rsh(v, shift))`` of each signed ``v``, LATENCY cycles later.

    ::

        v, 1 fraction bit -> >> 8 * (shift >> 3) [y, over] -> >> shift & 7 [w, over] -> (w + 1) >> 1, clip [result]

    The half that decides the rounding travels as one fraction bit, so no stage adds more than ``bits`` bits.
    ``shift`` (unsigned, more than FINE bits) comes with the values. Twin: ``golden.ops.arith.sat`` of ``rsh``.
    """
    s1_fine = Signal(FINE, name=f"{name}_s1_fine", reset_less=True)
    m.d.sync += s1_fine.eq(shift[:FINE])
    coarse = Cat(Const(0, FINE), shift[FINE:])
    reach = bits + (1 << FINE)
    """Signed bits in which a value must lie to fit after the finest shift."""
    results = []
    for lane, value in enumerate(values):
        def register(stage, shape=1, suffix="", lane=lane):
            return Signal(shape, name=f"{name}_s{stage}{suffix}_{lane}", reset_less=True)

        # Stage 1: multiples of 8. What lies above `reach` decides only whether the value fits: bytes that differ from
        # the sign do so wherever they go, so they are found beside the shift.
        half = Signal(signed(max(len(value) + 1, reach)), name=f"{name}_half_{lane}")
        moved = Signal.like(half, name=f"{name}_moved_{lane}")
        s1_y, s1_over, s1_sign = register(1, signed(reach), "_y"), register(1, 1, "_over"), register(1, 1, "_sign")
        above = [(half[first:first + (1 << FINE)] ^ half[-1:].replicate(len(half[first:first + (1 << FINE)]))).any()
                 for first in range(reach - 1, len(half), 1 << FINE)]
        m.d.comb += [half.eq(Cat(0, value).as_signed()), moved.eq(half >> coarse)]
        m.d.sync += [s1_y.eq(moved), s1_over.eq((Cat(above) >> shift[FINE:]).any()), s1_sign.eq(half[-1])]

        # Stage 2: 0..7 places.
        fine = Signal(signed(reach), name=f"{name}_fine_{lane}")
        s2_w, s2_over, s2_sign = register(2, signed(bits + 1), "_w"), register(2, 1, "_over"), register(2, 1, "_sign")
        m.d.comb += fine.eq(s1_y >> s1_fine)
        m.d.sync += [s2_w.eq(fine), s2_over.eq(s1_over | _differ(fine[bits:])), s2_sign.eq(s1_sign)]

        # Stage 3: round half up, clip.
        rounded = Signal(signed(bits + 1), name=f"{name}_rounded_{lane}")
        result = register(3, signed(bits))
        limit = Cat((~s2_sign).replicate(bits - 1), s2_sign).as_signed()
        m.d.comb += rounded.eq((s2_w >> 1) + s2_w[0])
        m.d.sync += result.eq(Mux(s2_over | (rounded[bits] != rounded[bits - 1]), limit, rounded))
        results.append(result)
    return results


def _differ(bits):
    """Whether not all bits are equal: then a signed value does not fit into their lowest."""
    return bits.any() & ~bits.all()
