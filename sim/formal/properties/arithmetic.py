# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of any width, by induction: rounding shift, block quantization, normalisation, square root."""

from amaranth.hdl import Cat, Module, Mux, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import TN
from golden.spec.tables import BLOCK_SHIFT_MAX
from hw.arith.block_quantize import BlockWriter
from hw.arith.reciprocal import divide_ones, leading
from hw.arith.round_shift import LATENCY, round_shift
from sim.formal.harness import Harness


class Block(wiring.Component):
    """A function that adds its pipeline to a module, as a unit: ``i``, ``shift`` In, its results ``o``, ``n`` Out."""

    def __init__(self, function, *, i, o, shift=1, n=1):
        self.function = function
        super().__init__({"i": In(i), "shift": In(shift), "o": Out(o), "n": Out(n)})

    def elaborate(self, platform):
        m = Module()
        found = self.function(m, self.i, self.shift)
        found = found if isinstance(found, tuple) else (found,)
        m.d.comb += [port.eq(value) for port, value in zip((self.o, self.n), found, strict=False)]
        return m


def ago(h: Harness, value, cycles: int):
    """``value`` of ``cycles`` cycles ago."""
    for _ in range(cycles):
        value = h.past(value)
    return value


def after(h: Harness, cycles: int):
    """Whether that many cycles have passed since the reset."""
    return ago(h, h.live, cycles)


def rounded(v, shift, bits: int):
    """``sat(rsh(v, shift), bits)``, by the formula of golden.ops.arith: ``(v + (1 << shift >> 1)) >> shift``."""
    exact = (v + ((1 << shift) >> 1)) >> shift
    top, low = (1 << bits - 1) - 1, -(1 << bits - 1)
    return Mux(exact > top, top, Mux(exact < low, low, exact))


def rounding_shift(width: int = 32, bits: int = 16, shift_bits: int = 6) -> Harness:
    """Every value, every shift."""
    h = Harness()
    unit = h.add(Block(lambda m, i, shift: round_shift(m, "r", [i], shift, bits)[0],
                       i=signed(width), o=signed(bits), shift=shift_bits))
    v, shift = ago(h, unit.i, LATENCY), ago(h, unit.shift, LATENCY)
    h.claim("equals_the_formula", ~after(h, LATENCY) | (unit.o == rounded(v, shift, bits)))
    h.cover("saturates", after(h, LATENCY) & (unit.o == (1 << bits - 1) - 1) & (shift == 3))
    return h


def block_writer(lanes: int = 16, bits: int = 17) -> Harness:
    """Every block, its parts one after the other; the bytes of the first and the last lane."""
    h = Harness()
    unit = h.add(BlockWriter(lanes, bits))
    parts, m = TN // lanes, h.m
    # Which part comes now: free before the first block, then one after the other.
    part = h.register(range(parts), "part")
    m.d.watch += part.eq(Mux(unit.later if parts > 1 else 0, part + 1, parts > 1))
    if parts > 1:
        h.assume(~h.later | (unit.later == (part != 0)))
        h.assume(h.later | ~unit.later)
    values = [ago(h, unit.v[lane], unit.LATENCY) for lane in range(lanes)]
    block = [value if wait == 0 else ago(h, unit.v[lane], unit.LATENCY - wait)
             for wait in range(parts) for lane, value in enumerate(values)]
    first = after(h, unit.LATENCY) & ~ago(h, unit.later, unit.LATENCY)
    exponent = 0
    for e in range(BLOCK_SHIFT_MAX - 1, -1, -1):
        fits = Cat(rounded(v, e, 8) == ((v + (1 << e >> 1)) >> e) for v in block).all()
        exponent = Mux(fits, e, exponent if e < BLOCK_SHIFT_MAX - 1 else BLOCK_SHIFT_MAX)
    exponent = h.named(exponent, "exponent")
    h.claim("smallest_exponent_that_fits", ~first | (unit.exp == exponent))
    for lane in (0, lanes - 1):
        h.claim(f"byte_of_lane_{lane}", ~first | (unit.byte[lane] == rounded(values[lane], unit.exp, 8)))
    h.cover("largest_exponent", first & (unit.exp == BLOCK_SHIFT_MAX))
    return h


def normalisation(width: int, unit_bits: int = 1) -> Harness:
    """Leading zeros of every value but 0: the result is the value, shifted by them, and its top digit is not 0."""
    h = Harness()
    moves = (16, 8), (4, 2, 1)
    unit = h.add(Block(lambda m, i, _: leading(m, "lead", i, moves, unit=unit_bits),
                       i=unsigned(width), o=unsigned(width), n=5))
    value = ago(h, unit.i, len(moves))
    known = after(h, len(moves)) & (value != 0)
    for name, condition in without_leading_zeros(value, unit.o, unit.n, unit_bits).items():
        h.claim(name, ~known | condition)
    h.cover("one", known & (value == 1))
    return h


def without_leading_zeros(value, shifted, count, digit: int) -> dict[str, Value]:
    """What makes ``shifted`` the ``value``, not 0, without its ``count`` leading digits of ``digit`` zeros."""
    width = len(value)
    return {"shifted_by_the_zeros": shifted == (value << (count * digit))[:width],
            "nothing_is_shifted_out": (value >> (width - count * digit).as_unsigned()) == 0,
            "top_digit_is_not_zero": shifted[width - digit:] != 0}


class Division(wiring.Component):
    """``divide_ones`` as a unit."""

    def __init__(self, bits: int):
        self.bits = bits
        super().__init__({"i": In(bits), "o": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(divide_ones(m, "step", self.i, self.bits))
        return m


