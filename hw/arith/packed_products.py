# SPDX-License-Identifier: Apache-2.0
"""Packed products: two products of the same weight in one multiplier, and columns of multipliers that sum them.

A column is the systolic form of a sum: each multiplier adds its product to the sum of the one before, and its inputs
come a cycle later. Vendor tools put such a multiplier into one DSP block with its registers (input, product, sum) and
its adder, and lead the sum over the blocks' own cascade (UltraScale DSP48E2: UG579, systolic filters): no adder is made
of LUTs before the two sums are taken apart.
"""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed

from golden.spec.latency import COLUMN
from hw.interfaces import OPERAND_BITS

FIELD = 18
"""Bits of each of two packed products or sums: COLUMN products of an operand in -128..255 and a weight in -128..127
fit, and so do they with the borrow of the other field."""
PACKED = signed(FIELD + OPERAND_BITS)
"""Two packed operands: 27 bits, as wide as the larger input of a DSP48E2."""


def pack(low: Value, high: Value) -> Value:
    """``(high << FIELD) + low`` of two operands: PACKED."""
    sign = low[-1]
    return Cat(low, sign.replicate(FIELD - OPERAND_BITS), (high - sign)[:OPERAND_BITS]).as_signed()


def delayed(m: Module, name: str, value: Value, cycles: int) -> Signal:
    """``value`` after ``cycles`` registers, of which the last belongs to a multiplier. They stay registers: a shift
    register of LUTs would take a LUT a bit where LUTs are short and registers are not."""
    for n in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{n}", reset_less=True, attrs={"shreg_extract": "no"})
        m.d.sync += register.eq(value)
        value = register
    return value


def column(m: Module, name: str, operands: list[Signal], weights: list[Signal]) -> Signal:
    """Sum of ``operands[n] * weights[n]``, ``1 + len(operands)`` registers after the first of them; the others come a
    cycle after the one before."""
    assert len(operands) <= COLUMN, f"{len(operands)} products do not fit a field of {FIELD} bits"
    total = Const(0)
    for n, (operand, weight) in enumerate(zip(operands, weights, strict=True)):
        product, before = Signal(signed(len(operand) + len(weight)), name=f"product_{name}_{n}", reset_less=True), total
        total = Signal(signed(2 * FIELD), name=f"sum_{name}_{n}", reset_less=True)
        m.d.sync += [product.eq(operand * weight), total.eq(before + product)]
    return total


def unpacked(total: Signal) -> tuple[Value, Value, Value]:
    """Lower field, upper field and the carry that the upper one still lacks: a lower field below zero has borrowed one
    from it, and its sign gives it back."""
    return total[:FIELD].as_signed(), total[FIELD:].as_signed(), total[FIELD - 1]

