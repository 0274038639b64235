# SPDX-License-Identifier: Apache-2.0
"""Reciprocal and reciprocal root as whole units, for every input: what their digit recurrences keep, stage by stage.

No stage needs a multiplier to be checked. A quotient or root grows by one bit ``b`` a stage, so its product with the
divisor and its square grow by ``(2 q + b) d = 2 q d + b d`` and ``(2 r + b)**2 = 4 r**2 + b (4 r + 1)``: registers of
the monitor follow those, and each stage's remainder is what is missing to the digits brought down so far.
"""

from amaranth.hdl import Cat, Const, Mux, Value

from golden.spec.tables import RECIPROCAL_BITS, RSQRT_RADICAND_BITS
from hw.arith.reciprocal import Reciprocal
from hw.arith.rsqrt import ROOT_BITS, ReciprocalRoot
from sim.formal.harness import Harness
from sim.formal.properties.arithmetic import ago, without_leading_zeros

LEADING = 2
"""Stages that remove leading zeros."""


def reciprocal() -> Harness:
    """Every total but 0."""
    h = Harness()
    unit = h.add(Reciprocal())
    h.assume(unit.i_total != 0)
    known = _known(h, unit.LATENCY)
    aligned, zeros = _leading(h, unit.i_total, known)
    _division(h, aligned[unit.WIDTH - RECIPROCAL_BITS:], unit.o_recip, known[LEADING:])
    total, length = ago(h, unit.i_total, LEADING), unit.WIDTH - zeros
    h.claim("length_of_the_total", ~known[LEADING] | (length > 0) & ((total >> (length - 1).as_unsigned()[:5]) == 1))
    _waits(h, "length", length, unit.o_length, known[LEADING:])
    _valid_follows(h, unit)
    h.cover("of_one", known[-1] & (ago(h, unit.i_total, unit.LATENCY) == 1) & unit.o_valid)
    return h


def reciprocal_root() -> Harness:
    """Every variance but 0."""
    h = Harness()
    unit = h.add(ReciprocalRoot())
    h.assume(unit.i_variance != 0)
    known = _known(h, unit.LATENCY)
    aligned, pairs = _leading(h, unit.i_variance, known, 2)
    root = _square_root(h, aligned[unit.WIDTH - RSQRT_RADICAND_BITS:], known[LEADING:])
    _division(h, root, unit.o_r, known[LEADING + ROOT_BITS - 1:])
    beyond = (unit.WIDTH - RSQRT_RADICAND_BITS) // 2
    _waits(h, "exponent", pairs.as_unsigned() - beyond, unit.o_j, known[LEADING:])
    _valid_follows(h, unit)
    h.cover("of_one", known[-1] & (ago(h, unit.i_variance, unit.LATENCY) == 1) & unit.o_valid)
    return h


def _known(h: Harness, latency: int) -> list[Value]:
    """Whether 0, 1, .. ``latency`` cycles have passed since the reset: what was given then is known to be an input."""
    passed = h.register(range(latency + 1), "passed")
    h.m.d.watch += passed.eq(Mux(h.live, Mux(passed == latency, latency, passed + 1), 0))
    return [h.named(passed >= cycles, f"known{cycles}") for cycles in range(latency + 1)]


def _leading(h: Harness, value, known: list[Value], digit: int = 1):
    """(``value`` of LEADING cycles ago without leading digits of ``digit`` zeros, their number)."""
    aligned, count = h.signal("lead1_value"), h.signal("lead1_count")
    is_right = without_leading_zeros(ago(h, value, LEADING), aligned, count, digit).values()
    h.lemma("aligned", ~known[LEADING] | Cat(is_right).all())
    return aligned, count


def _division(h: Harness, divisor, output, known: list[Value]) -> None:
    """Claims that ``output`` is ``2**(2 bits - 1) - 1`` divided by ``divisor``, which is known with the first of
    ``known``."""
    bits, product, quotient = len(output), divisor, Const(1, 1)
    for stage in range(bits):
        remainder, kept, before = h.signal(f"step{stage}_remainder"), h.past(divisor), quotient
        product, ones = h.past(product), (1 << bits + stage) - 1
        if stage:
            quotient = h.signal(f"step{stage}_quotient")
            bit = quotient[0]
            before = Cat(bit, h.past(before) if stage > 1 else before)
            product = h.named(2 * product + Mux(bit, kept, 0), f"product{stage}")
        h.lemma(f"quotient_bit_{stage}", ~known[stage + 1] | (product + remainder == ones) & (remainder < kept) & (
            quotient == before) & (kept == (h.signal(f"step{stage}_divisor") if stage < bits - 1 else kept)))
        divisor = kept
    h.claim("quotient_is_the_largest", ~known[bits] | (product <= ones) & (ones < product + divisor) & (
        output == quotient))


def _square_root(h: Harness, radicand, known: list[Value]) -> Value:
    """The root of ``radicand``, which is known with the first of ``known``; claims that it is the largest whose square
    is not more."""
    square, given, before = Const(1), radicand, None
    for stage in range(1, ROOT_BITS):
        root, remainder = h.signal(f"root{stage}"), h.signal(f"root{stage}_remainder")
        given, below = h.past(given), RSQRT_RADICAND_BITS - 2 * (stage + 1)
        before = Const(1, 1) if before is None else h.past(before)
        square = h.named(4 * h.past(square) + Mux(root[0], 4 * root[1:] + 1, 0), f"square{stage}")
        h.lemma(f"root_bit_{stage}", ~known[stage] | (square + remainder == given[below:]) & (remainder <= 2 * root) & (
            root[1:] == before) & (given[:below] == (h.signal(f"root{stage}_left") if below else given[:below])))
        before = root
    h.claim("root_is_the_largest", ~known[ROOT_BITS - 1] | (square <= given) & (given < square + 2 * root + 1))
    return root


def _waits(h: Harness, name: str, value, output, known: list[Value]) -> None:
    """Claims that the unit's registers ``name`` bring ``value``, known with the first of ``known``, to ``output`` with
    the last."""
    for n in range(1, len(known)):
        value = h.past(value)
        h.lemma(f"{name}_{n}", ~known[n] | (h.signal(f"{name}_{n}") == value))
    h.claim(f"{name}_comes_with_the_result", ~known[-1] | (output == value))


def _valid_follows(h: Harness, unit) -> None:
    given = [h.live & unit.i_valid]
    for _ in range(unit.LATENCY):
        given.append(h.past(given[-1]))
    h.claim("valid_follows", (h.inside("valid") == Cat(given[1:])) & (unit.o_valid == given[-1]), alone=True)
