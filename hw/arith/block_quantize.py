# SPDX-License-Identifier: Apache-2.0
"""Block quantization: a block of 16-bit values becomes bytes with a common exponent."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES, TN
from golden.spec.tables import BLOCK_SHIFT_BITS, BLOCK_SHIFT_MAX
from hw.lib.pipeline import delay

LATENCY = 3
CLIP_BITS = 11
"""Values beyond +-2**10 saturate at any exponent: clipping them to this many bits changes no byte."""
BYTE = 8


def block_latency(lanes: int) -> int:
    """LATENCY of a BlockWriter of so many lanes."""
    return TN // lanes - 1 + LATENCY


class BlockWriter(wiring.Component):
    """Block writer: ``e`` = smallest exponent for which the 32 values of a block fit int8, ``byte = sat8(rsh(v, e))``
    (golden/README.md, Operands). ::

        v -> [ wait for the block's last part ] -> block_quantize -> byte, exp

    A block is ``parts`` = 32 / ``lanes`` parts, one a cycle; each waits until the last one is here.
    Timing: free-running, ``byte`` and ``exp`` follow ``v`` by LATENCY = parts + 2 cycles. II = 1.
    Domain: ``bits``-bit values. The parts of a block follow each other at once; ``later`` is 0 with the first only.
    Reference model: ``golden.ops.arith.block_quantize``.

    Members: ``v`` In(each lane), ``later`` In, ``byte`` Out(each lane), ``exp`` Out.
    """

    II = 1

    v: data.View
    later: Signal
    byte: data.View
    exp: Signal

    def __init__(self, lanes: int = LANES, bits: int = 17):
        self.parts = TN // lanes
        self.LATENCY = block_latency(lanes)
        super().__init__({
            "v": In(data.ArrayLayout(signed(bits), lanes)), "later": In(1),
            "byte": Out(data.ArrayLayout(signed(BYTE), lanes)), "exp": Out(BLOCK_SHIFT_BITS)})

    def elaborate(self, platform):
        m = Module()
        waited = [delay(m, _clip(value, CLIP_BITS), self.parts - 1, f"v_{n}_waits") for n, value in enumerate(self.v)]
        closes = delay(m, ~self.later, self.parts - 1, "closes", reset_less=False)
        values, exponent = block_quantize(m, "quantize", list(self.v), waited, opens=~self.later, closes=closes)
        m.d.comb += [byte.eq(value) for byte, value in zip(self.byte, values, strict=True)]
        m.d.comb += self.exp.eq(exponent)
        return m


def block_quantize(m, name: str, values: list, waited: list, *, opens, closes) -> tuple[list, Signal]:
    """Quantize a block to bytes of signed ``waited``, LATENCY cycles later, and their exponent (golden/README.md,
    Operands).

    ::

        values -> [ which exponents are too small ] -> [ smallest that fits all, kept ] --\
        waited -> [ clip to 11 bits ] -------------------------------------------> [ ] -> [ round, clip ]

    A block comes as consecutive parts: ``values``, with ``opens`` high in its first and ``closes`` in its last part,
    when its first part also arrives, delayed, as ``waited``. In one part: ``waited`` is ``values``.
    Reference model: ``golden.ops.arith.block_quantize``.
    """
    beyond = [Signal(len(values), name=f"{name}_beyond{e}", reset_less=True) for e in range(BLOCK_SHIFT_MAX)]
    clipped, taken = [], []
    for k, (v, late) in enumerate(zip(values, waited, strict=True)):
        clipped.append(Signal(signed(CLIP_BITS), name=f"{name}_clipped{k}", reset_less=True))
        taken.append(Signal(signed(CLIP_BITS), name=f"{name}_taken{k}", reset_less=True))
        m.d.sync += [clipped[k].eq(_clip(late, CLIP_BITS)), taken[k].eq(clipped[k])]
        m.d.sync += [flags[k].eq(_too_big(v, e)) for e, flags in enumerate(beyond)]
    chosen = _exponent(m, name, beyond, opens, closes)
    exponent = delay(m, chosen, 1, f"{name}_exponent")

    # Round half up, with the deciding half as a fraction bit; clip.
    results = []
    for k, v in enumerate(taken):
        moved, rounded = (Signal(signed(CLIP_BITS + 1), name=f"{name}_{part}{k}") for part in ("moved", "rounded"))
        byte = Signal(signed(BYTE), name=f"{name}_byte{k}", reset_less=True)
        m.d.comb += [moved.eq(Cat(0, v).as_signed() >> chosen), rounded.eq((moved >> 1) + moved[0])]
        m.d.sync += byte.eq(_clip(rounded, BYTE))
        results.append(byte)
    return results, exponent


def _exponent(m, name: str, beyond: list, opens, closes) -> Signal:
    """The smallest exponent that fits all parts of a block, two cycles after its last; too small ones come in
    ascending order."""
    opened, closed = (Signal(name=f"{name}_{when}", init=1, reset_less=True) for when in ("opens", "closes"))
    m.d.sync += [opened.eq(opens), closed.eq(closes)]
    seen, small = Signal(BLOCK_SHIFT_MAX, name=f"{name}_seen"), Signal(BLOCK_SHIFT_MAX, name=f"{name}_small")
    chosen = Signal(BLOCK_SHIFT_BITS, name=f"{name}_chosen", reset_less=True)
    m.d.comb += small.eq(Cat(flags.any() for flags in beyond) | Mux(opened, 0, seen))
    m.d.sync += seen.eq(small)
    with m.If(closed):
        m.d.sync += chosen.eq(Mux(small[2], 3, Mux(small[1], 2, small[0])))
    return chosen


def _clip(value, bits: int):
    """Signed ``value`` saturated to ``bits`` bits."""
    top = value[bits - 1:]
    limit = Cat((~value[-1]).replicate(bits - 1), value[-1])
    return Mux(top.any() & ~top.all(), limit, value[:bits]).as_signed()


def _too_big(value, exponent: int):
    """Whether ``rsh(value, exponent)`` leaves int8."""
    high, half = (1 << (BYTE - 1)) << exponent, 1 << exponent >> 1
    return (value < -high - half) | (value > high - half - 1)
