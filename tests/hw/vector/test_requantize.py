# SPDX-License-Identifier: Apache-2.0
"""Both multiplications of the epilogue against their reference models: every shift, ties, saturation on both sides."""

import os

import cocotb
import numpy as np
import pytest

from golden.ops.arith import rsh, sat, wrap32
from golden.ops.epilogue import affine, requantize
from golden.spec.activations import ACT_SHIFT_MAX
from golden.spec.isa import LIMITS, Opcode
from hw.vector.requantize import G_BITS, V_BITS, Affine, Requantize
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support.pipeline import through

UNITS = {"requant": Requantize, "affine": Affine}
LANES = int(os.environ.get("REQUANT_LANES", "16"))
INT32 = (1 << 31) - 1


@pytest.mark.rtl
@pytest.mark.parametrize("lanes", [16, 4])
@pytest.mark.parametrize("unit", list(UNITS))
def test_requant(unit, lanes):
    run_bench(UNITS[unit](lanes), module=__name__, name=f"{unit}-{lanes}", tests=[f"{unit}_matches_golden"],
              env={"REQUANT_LANES": str(lanes)})


def requant_inputs(rng, shift: int) -> dict:
    """Drawn from the output: ``2 u`` first, exact ties wherever the multiplier is a power of two."""
    acc, bias, multiplier = [], [], []
    for _ in range(LANES):
        m = rng.choice((1, 1 << rng.randint(0, 15), 65535, rng.randint(1, 65535), 0))
        twice = rng.randint(-90_000, 90_000)
        s = ((twice << shift) // 2) // max(m, 1) + rng.choice((0, 0, 1, -1))
        s = max(-INT32, min(INT32, rng.choice((s, s, s, s, -INT32, INT32)) if rng.random() < 0.1 else s))
        b = max(-INT32, min(INT32, s - rng.randint(-INT32, INT32)))
        acc.append(max(-INT32, min(INT32, s - b)))
        bias.append(s - acc[-1])
        if rng.random() < 0.05:  # any: the sum may wrap
            acc[-1], bias[-1] = (rng.choice((-INT32 - 1, INT32, rng.randint(-INT32, INT32))) for _ in range(2))
        multiplier.append(m)
    return {"acc": acc, "bias": bias, "multiplier": multiplier, "shift": shift}


@cocotb.test()
async def requant_matches_golden(dut):
    await start(dut)
    rng, unit = seeded("requant"), Requantize(LANES)
    shifts = list(range(LIMITS[Opcode.LINEAR]["shift1"][1] + 1)) * (192 // LANES)
    rng.shuffle(shifts)
    inputs = [requant_inputs(rng, shift) for shift in shifts]
    got = np.array(await through(dut, unit, Requantize.LATENCY, inputs, "o"))
    acc, bias, multiplier = (np.array([x[name] for x in inputs]) for name in ("acc", "bias", "multiplier"))
    expected = np.array([requantize(a, b, m, x["shift"])
                         for a, b, m, x in zip(acc, bias, multiplier, inputs, strict=True)])
    assert (got == expected).all(), _first(inputs, got, expected)

    wrapped = wrap32(acc + bias)
    assert 20 < np.sum(wrapped != acc + bias)
    product = wrapped * multiplier
    shift = np.array(shifts)[:, None]
    ties = (shift > 0) & ((product & ((1 << shift) - 1)) == (1 << shift) >> 1) & (abs(expected) < 32767)
    clipped = rsh(product, np.broadcast_to(shift, product.shape)) != expected
    print(f"coverage: {np.mean(clipped):.2f} saturated, {ties.sum()} ties, {(ties & (product < 0)).sum()} negative, "
          f"{np.mean(expected < 0):.2f} negative")
    assert 0.02 < np.mean(clipped) < 0.6 and (ties & (product < 0)).sum() > 20 < (ties & (product > 0)).sum()
    s = np.array(await through(dut, unit, Requantize.S_LATENCY, inputs, "s"))
    assert (s == wrapped).all()


def affine_inputs(rng, shift: int) -> dict:
    g, factor, offset = [], [], []
    for _ in range(LANES):
        f = rng.choice((1, -32768, 32767, 65535, rng.randint(-32768, 32767), 1 << rng.randint(0, 14)))
        # After an activation of any act_shift, or an int16 that goes on as it is.
        top = ((1 << (G_BITS - 1)) >> rng.randint(0, ACT_SHIFT_MAX)) - 32
        value = rng.choice((top, rng.randint(-2787, top))) if f < 32768 else rng.randint(-32768, 32767)
        if rng.random() < 0.1:  # the largest sums there are, of either sign
            f, value = rng.choice((-32768, 32767)), rng.choice(((1 << (G_BITS - 1)) - 1, -1 << (G_BITS - 1)))
        target = (rng.randint(-4 * 70_000, 4 * 70_000) << shift) // 4
        end = (1 << 31) - 1 if value * f > 0 else -1 << 31
        drawn = rng.choice((target - value * f, rng.randint(-1 << 31, INT32), -1 << 31, INT32))
        o = end if abs(value) >= (1 << (G_BITS - 1)) - 1 else drawn
        g.append(value)
        factor.append(f)
        offset.append(max(-1 << 31, min(INT32, o)))
    return {"g": g, "factor": factor, "offset": offset, "shift": shift}


@cocotb.test()
async def affine_matches_golden(dut):
    await start(dut)
    rng, unit = seeded("affine"), Affine(LANES)
    shifts = list(range(LIMITS[Opcode.LINEAR]["shift2"][1] + 1)) * (192 // LANES)
    rng.shuffle(shifts)
    inputs = [affine_inputs(rng, shift) for shift in shifts]
    got = np.array(await through(dut, unit, Affine.LATENCY, inputs, "o"))
    v = np.array([affine(np.array(x["g"]), np.array(x["factor"]), np.array(x["offset"]), x["shift"]) for x in inputs])
    expected = sat(v, V_BITS)
    assert (got == expected).all(), _first(inputs, got, expected)
    clipped = v != expected
    print(f"coverage: {np.mean(clipped):.2f} saturated, {np.mean(expected < 0):.2f} negative")
    sums = [int(g) * f + o for x in inputs for g, f, o in zip(x["g"], x["factor"], x["offset"], strict=True)]
    assert max(sums) > (1 << 39) and min(sums) < -(1 << 39), "sums that need every bit"
    assert 0.05 < np.mean(clipped) < 0.8 and 0.2 < np.mean(expected < 0) < 0.8


def _first(inputs, got, expected) -> str:
    n, lane = np.argwhere(got != expected)[0]
    return (f"beat {n}, lane {lane}: got {got[n, lane]}, expected {expected[n, lane]} for "
            f"{ {name: x[lane] if isinstance(x, list) else x for name, x in inputs[n].items()} }")
