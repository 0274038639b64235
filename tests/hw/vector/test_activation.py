# SPDX-License-Identifier: Apache-2.0
"""Every activation on every code of its input with every act_shift, and mixed ones one after the other."""

import os

import cocotb
import numpy as np
import pytest

from golden.ops.activation import activate
from golden.spec.activations import ACT_IN_FRAC, ACT_SHIFT_MAX, BY_CODE, CHORDS, CURVED
from hw.vector.activation import Activation
from sim.runner import run_bench
from sim.streams import seeded, start
from tests.hw.support.pipeline import through

LANES = int(os.environ.get("ACTIVATION_LANES", "16"))
SHIFTS = range(ACT_SHIFT_MAX + 1) if LANES == 16 else (0, ACT_SHIFT_MAX)


@pytest.mark.rtl
@pytest.mark.parametrize("lanes", [16, 4])
def test_activation(lanes):
    run_bench(Activation(lanes), module=__name__, name=f"activation-{lanes}", env={"ACTIVATION_LANES": str(lanes)})


@cocotb.test()
async def matches_golden_on_all_codes(dut):
    """65536 codes with each activation and act_shift (few lanes: the ends), in an order in which every lane sees every
    magnitude."""
    await start(dut)
    rng = seeded("codes")
    for kind in BY_CODE:
        for shift in [0] if kind.passes else SHIFTS:
            codes = list(range(-1 << 15, 1 << 15))
            rng.shuffle(codes)
            inputs = [{"u": codes[n:n + LANES], "activation": kind.code, "act_shift": shift}
                      for n in range(0, len(codes), LANES)]
            got = np.array(await through(dut, Activation(LANES), Activation.LATENCY, inputs, "o")).ravel()
            expected = activate(np.array(codes), kind.code, shift)
            wrong = np.flatnonzero(got != expected)
            assert not wrong.size, (
                f"{kind.name}, u = {codes[wrong[0]]} << {shift}: {got[wrong[0]]}, expected {expected[wrong[0]]}")


@cocotb.test()
async def every_lane_sees_every_table_entry(dut):
    await start(dut)
    for kind in CURVED:
        step = 1 << ACT_IN_FRAC + kind.step_log2
        codes = [sign * (step * point + f) for point in range(CHORDS + 1)
                 for sign, f in ((1, 0), (1, step - 1), (-1, step // 2 - 1), (-1, step // 2))]
        inputs = [{"u": [code] * LANES, "activation": kind.code, "act_shift": 0} for code in codes]
        got = await through(dut, Activation(LANES), Activation.LATENCY, inputs, "o")
        for code, lanes in zip(codes, got, strict=True):
            assert lanes == [int(activate(code, kind.code))] * LANES, f"{kind.name}, u = {code}: {lanes}"


@cocotb.test()
async def beats_of_all_activations_alternate(dut):
    """Beats of every activation, of every act_shift, at random; none disturbs another."""
    await start(dut)
    rng = seeded("mixed")
    inputs = []
    for kind in (rng.choice(BY_CODE) for _ in range(1500)):
        shift = 0 if kind.passes else rng.randint(0, ACT_SHIFT_MAX)
        peak = rng.choice((3000 >> shift, 9000 >> shift, 32767))
        inputs.append({"u": [rng.randint(-peak - 1, peak) for _ in range(LANES)], "activation": kind.code,
                       "act_shift": shift})
    got = await through(dut, Activation(LANES), Activation.LATENCY, inputs, "o")
    for x, lanes in zip(inputs, got, strict=True):
        assert lanes == activate(np.array(x["u"]), x["activation"], x["act_shift"]).tolist(), x
