# SPDX-License-Identifier: Apache-2.0
"""Bytes with a common exponent from a block of 16-bit values."""

from amaranth.hdl import Cat, Mux, Signal, signed

from golden.spec.tables import BLOCK_SHIFT_BITS, BLOCK_SHIFT_MAX

LATENCY = 3
CLIP_BITS = 11
"""Values beyond +-2**10 saturate at any exponent: clipping them to this many bits changes no byte."""


def narrow_block(m, name: str, values: list) -> tuple[list, Signal]:
    """``narrow`` of golden/README.md: (bytes, exponent) of signed 16-bit ``values``, LATENCY cycles later.

    ::

        v -> [ clip to 11 bits, which exponents are too small ] -> [ smallest that suits all ] -> [ round, clip ]

    Twin: ``golden.ops.arith.narrow``.
    """
    # Stage 1: `rsh(v, e)` leaves [-128, 127] beyond low..high.
    s1_v = [Signal(signed(CLIP_BITS), name=f"{name}_s1_v{k}", reset_less=True) for k in range(len(values))]
    s1_beyond = [Signal(len(values), name=f"{name}_s1_beyond{e}", reset_less=True) for e in range(BLOCK_SHIFT_MAX)]
    for k, v in enumerate(values):
        outside = v[CLIP_BITS - 1:].any() & ~v[CLIP_BITS - 1:].all()
        limit = Cat((~v[-1]).replicate(CLIP_BITS - 1), v[-1]).as_signed()
        m.d.sync += s1_v[k].eq(Mux(outside, limit, v))
        for e, beyond in enumerate(s1_beyond):
            tie = 1 << e >> 1
            low, high = (-128 << e) - tie, (128 << e) - tie - 1
            m.d.sync += beyond[k].eq((v < low) | (v > high))

    # Stage 2: exponents are too small in ascending order.
    s2_exponent = Signal(BLOCK_SHIFT_BITS, name=f"{name}_s2_exponent", reset_less=True)
    m.d.sync += s2_exponent.eq(Mux(s1_beyond[2].any(), 3, Mux(s1_beyond[1].any(), 2, s1_beyond[0].any())))

    # Stage 3: round half up, with the deciding half as a fraction bit; clip.
    exponent = Signal(BLOCK_SHIFT_BITS, name=f"{name}_exponent", reset_less=True)
    m.d.sync += exponent.eq(s2_exponent)
    results = []
    for k in range(len(values)):
        s2_v = Signal(signed(CLIP_BITS), name=f"{name}_s2_v{k}", reset_less=True)
        moved, rounded = (Signal(signed(CLIP_BITS + 1), name=f"{name}_{part}{k}") for part in ("moved", "rounded"))
        byte = Signal(signed(8), name=f"{name}_byte{k}", reset_less=True)
        limit = Cat((~moved[-1]).replicate(7), moved[-1]).as_signed()
        m.d.comb += [moved.eq(Cat(0, s2_v).as_signed() >> s2_exponent), rounded.eq((moved >> 1) + moved[0])]
        m.d.sync += [s2_v.eq(s1_v[k]), byte.eq(Mux(rounded[7:].any() & ~rounded[7:].all(), limit, rounded))]
        results.append(byte)
    return results, exponent
