# SPDX-License-Identifier: Apache-2.0
"""Pipelined rounding right shift with saturation, for many lanes that share one shift amount."""

from amaranth.hdl import Cat, Const, Mux, Signal, signed

LATENCY = 3
FINE = 3
"""Bits of the shift amount used by the second stage; the first shifts by multiples of 8."""
SCALED_LATENCY = 2


def round_shift(m, name: str, values: list, shift, bits: int, *, halves: bool = False) -> list[Signal]:
    """``sat_bits(rsh(v, shift))`` of each signed ``v``, LATENCY cycles later.

    ::

        v, 1 fraction bit -> >> 8 * (shift >> 3) [y, over] -> >> shift & 7 [w, over] -> (w + 1) >> 1, clip [result]

    The half that decides the rounding travels as one fraction bit, so no stage adds more than ``bits`` bits.
    ``shift`` (unsigned, more than FINE bits) comes with the values. ``halves``: they have that fraction bit already.
    Reference model: ``golden.ops.arith.sat`` of ``rsh``.
    """
    s1_fine = Signal(FINE, name=f"{name}_s1_fine", reset_less=True)
    m.d.sync += s1_fine.eq(shift[:FINE])
    coarse = Cat(Const(0, FINE), shift[FINE:])
    kept = bits + (1 << FINE)
    """Signed bits that a value must fit in to fit after the second stage's largest shift."""
    results = []
    for lane, value in enumerate(values):
        def register(stage, shape=1, suffix="", lane=lane):
            return Signal(shape, name=f"{name}_s{stage}{suffix}_{lane}", reset_less=True)

        # Stage 1: multiples of 8.
        half = Signal(signed(max(len(value) + (not halves), kept)), name=f"{name}_half_{lane}")
        moved = Signal.like(half, name=f"{name}_moved_{lane}")
        s1_y, s1_over, s1_sign = register(1, signed(kept), "_y"), register(1, 1, "_over"), register(1, 1, "_sign")
        m.d.comb += [half.eq(value if halves else Cat(0, value).as_signed()), moved.eq(half >> coarse)]
        m.d.sync += [s1_y.eq(moved), s1_over.eq(_beyond(half, kept, shift[FINE:])), s1_sign.eq(half[-1])]

        # Stage 2: 0..7 places.
        fine = Signal(signed(kept), name=f"{name}_fine_{lane}")
        s2_w, s2_over, s2_sign = register(2, signed(bits + 1), "_w"), register(2, 1, "_over"), register(2, 1, "_sign")
        m.d.comb += fine.eq(s1_y >> s1_fine)
        m.d.sync += [s2_w.eq(fine), s2_over.eq(s1_over | _differ(fine[bits:])), s2_sign.eq(s1_sign)]

        # Stage 3: round half up, clip.
        results.append(_round(m, f"{name}_s3_{lane}", s2_w, s2_over, s2_sign))
    return results


def scaled(factor, shift) -> tuple:
    """``(factor << g, n)`` with 8 n - g = ``shift``, 0 <= g < 8: v * factor shifted right by ``shift`` is v times the
    first shifted right by n bytes. For lanes with a common factor this moves the fine part of the shift out of them.
    """
    fine = (-shift)[:FINE]
    return (factor << fine)[:len(factor) + (1 << FINE) - 1], (shift + (1 << FINE) - 1) >> FINE


def round_shift_scaled(m, name: str, values: list, count, bits: int) -> list[Signal]:
    """``sat_bits(rsh(v, 8 * count))`` of each signed ``v``, SCALED_LATENCY cycles later: for products with a factor
    that :func:`scaled` made. ``count`` comes with the values. ::

        v, 1 fraction bit -> >> 8 * count [w, over] -> (w + 1) >> 1, clip [result]
    """
    results = []
    for lane, value in enumerate(values):
        half = Signal(signed(max(len(value) + 1, bits + 1)), name=f"{name}_half_{lane}")
        s1_w = Signal(signed(bits + 1), name=f"{name}_s1_w_{lane}", reset_less=True)
        s1_over = Signal(name=f"{name}_s1_over_{lane}", reset_less=True)
        s1_sign = Signal(name=f"{name}_s1_sign_{lane}", reset_less=True)
        m.d.comb += half.eq(Cat(0, value).as_signed())
        m.d.sync += [s1_w.eq(half >> Cat(Const(0, FINE), count)), s1_over.eq(_beyond(half, bits + 1, count)),
                     s1_sign.eq(half[-1])]
        results.append(_round(m, f"{name}_s2_{lane}", s1_w, s1_over, s1_sign))
    return results


def _beyond(half, bits: int, count):
    """Whether signed ``half``, shifted right by ``count`` bytes, leaves ``bits`` bits. The bits above decide only
    that: a byte that differs from the sign does so after any shift, so it is found in parallel with the shift."""
    width = 1 << FINE
    parts = [half[first:first + width] for first in range(bits - 1, len(half), width)]
    return (Cat((part ^ half[-1:].replicate(len(part))).any() for part in parts) >> count).any()


def _round(m, name: str, w, over, sign):
    """``w`` with one fraction bit, rounded half up and clipped, a cycle later; ``over``: it is beyond its bits."""
    bits = len(w) - 1
    rounded, result = Signal(signed(bits + 1), name=f"{name}_rounded"), Signal(signed(bits), name=name, reset_less=True)
    limit = Cat((~sign).replicate(bits - 1), sign).as_signed()
    m.d.comb += rounded.eq((w >> 1) + w[0])
    m.d.sync += result.eq(Mux(over | (rounded[bits] != rounded[bits - 1]), limit, rounded))
    return result


def _differ(bits):
    """Whether not all bits are equal: then a signed value does not fit into their lowest."""
    return bits.any() & ~bits.all()
