# SPDX-License-Identifier: Apache-2.0
"""Block quantization: a block of 16-bit values becomes bytes with a common exponent."""

from amaranth.hdl import Cat, Mux, Signal, signed

from golden.spec.tables import BLOCK_SHIFT_BITS, BLOCK_SHIFT_MAX

LATENCY = 3
CLIP_BITS = 11
"""Values beyond +-2**10 saturate at any exponent: clipping them to this many bits changes no byte."""


def block_quantize(m, name: str, values: list, waited: list, *, opens, closes) -> tuple[list, Signal]:
    """Quantize a block to bytes of signed 16-bit ``waited``, LATENCY cycles later, and their exponent
    (golden/README.md, Operands).

    ::

        values -> [ which exponents are too small ] -> [ smallest that fits all, kept ] --\
        waited -> [ clip to 11 bits ] -------------------------------------------> [ ] -> [ round, clip ]

    A block comes as consecutive parts: ``values``, with ``opens`` high in its first and ``closes`` in its last part,
    when its first part also arrives, delayed, as ``waited``. In one part: ``waited`` is ``values``.
    Reference model: ``golden.ops.arith.block_quantize``.
    """
    # Stage 1: `rsh(v, e)` leaves [-128, 127] beyond low..high.
    s1_v = [Signal(signed(CLIP_BITS), name=f"{name}_s1_v{k}", reset_less=True) for k in range(len(values))]
    s1_beyond = [Signal(len(values), name=f"{name}_s1_beyond{e}", reset_less=True) for e in range(BLOCK_SHIFT_MAX)]
    s1_opens, s1_closes = (Signal(name=f"{name}_s1_{when}", init=1, reset_less=True) for when in ("opens", "closes"))
    m.d.sync += [s1_opens.eq(opens), s1_closes.eq(closes)]
    for k, (v, late) in enumerate(zip(values, waited, strict=True)):
        outside = late[CLIP_BITS - 1:].any() & ~late[CLIP_BITS - 1:].all()
        limit = Cat((~late[-1]).replicate(CLIP_BITS - 1), late[-1]).as_signed()
        m.d.sync += s1_v[k].eq(Mux(outside, limit, late))
        for e, beyond in enumerate(s1_beyond):
            tie = 1 << e >> 1
            low, high = (-128 << e) - tie, (128 << e) - tie - 1
            m.d.sync += beyond[k].eq((v < low) | (v > high))

    # Stage 2: exponents are too small in ascending order.
    seen, small = Signal(BLOCK_SHIFT_MAX, name=f"{name}_seen"), Signal(BLOCK_SHIFT_MAX, name=f"{name}_small")
    s2_exponent = Signal(BLOCK_SHIFT_BITS, name=f"{name}_s2_exponent", reset_less=True)
    m.d.comb += small.eq(Cat(beyond.any() for beyond in s1_beyond) | Mux(s1_opens, 0, seen))
    m.d.sync += seen.eq(small)
    with m.If(s1_closes):
        m.d.sync += s2_exponent.eq(Mux(small[2], 3, Mux(small[1], 2, small[0])))

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
