# SPDX-License-Identifier: Apache-2.0
"""GELU on every code of its input with every act_shift, and passed by."""

import os

import cocotb
import numpy as np
import pytest

from golden.ops.gelu import gelu
from golden.spec.tables import ACT_SHIFT_MAX, GELU_IN_FRAC, GELU_OUT_FRAC
from golden.spec.tables import gelu as exact
from hw.vector.gelu import Gelu
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support.pipeline import through

LANES = int(os.environ.get("GELU_LANES", "16"))


@pytest.mark.rtl
@pytest.mark.parametrize("lanes", [16, 4])
def test_gelu(lanes):
    run_bench(Gelu(lanes), module=__name__, name=f"gelu-{lanes}", env={"GELU_LANES": str(lanes)})


@cocotb.test()
async def matches_golden_on_all_codes(dut):
    """65536 codes with each act_shift, in an order in which every lane sees every magnitude; then the error against
    erf."""
    await start(dut)
    rng = seeded("codes")
    for shift in range(ACT_SHIFT_MAX + 1):
        codes = list(range(-1 << 15, 1 << 15))
        rng.shuffle(codes)
        inputs = [{"u": codes[n:n + LANES], "act_shift": shift, "enable": 1} for n in range(0, len(codes), LANES)]
        got = np.array(await through(dut, Gelu(LANES), Gelu.LATENCY, inputs, "o")).ravel()
        expected = gelu(np.array(codes), shift)
        wrong = np.flatnonzero(got != expected)
        assert not wrong.size, f"u = {codes[wrong[0]]} << {shift}: {got[wrong[0]]}, expected {expected[wrong[0]]}"
        error = max(abs(int(g) / (1 << GELU_OUT_FRAC) - exact(u / (1 << GELU_IN_FRAC - shift)))
                    for g, u in zip(got, codes, strict=True))
        print(f"act_shift {shift}: largest error against erf GELU: {error:.3g}")
        assert error < 1.8e-4  # half a table step squared times the curvature over 2, and two roundings


@cocotb.test()
async def every_lane_sees_every_table_entry(dut):
    await start(dut)
    codes = [sign * (16 * point + f) for point in range(162) for sign, f in ((1, 0), (1, 15), (-1, 7), (-1, 8))]
    inputs = [{"u": [code] * LANES, "act_shift": 0, "enable": 1} for code in codes]
    got = await through(dut, Gelu(LANES), Gelu.LATENCY, inputs, "o")
    for code, lanes in zip(codes, got, strict=True):
        assert lanes == [int(gelu(np.array(code)))] * LANES, f"u = {code}: {lanes}"


@cocotb.test()
async def passes_by_when_not_enabled(dut):
    """Beats with and without GELU, of every act_shift, alternate at random; none disturbs another."""
    await start(dut)
    rng = seeded("pass")
    inputs = []
    for enable in (rng.randrange(2) for _ in range(600)):
        shift = rng.randint(0, ACT_SHIFT_MAX) if enable else 0
        reach = rng.choice((3000 >> shift, 32767))
        inputs.append({"u": [rng.randint(-reach - 1, reach) for _ in range(LANES)], "act_shift": shift,
                       "enable": enable})
    got = await through(dut, Gelu(LANES), Gelu.LATENCY, inputs, "o")
    for x, lanes in zip(inputs, got, strict=True):
        assert lanes == (gelu(np.array(x["u"]), x["act_shift"]).tolist() if x["enable"] else x["u"]), x
