# SPDX-License-Identifier: Apache-2.0
"""Weight ports of 256 bits, also so many that they bring two lines a cycle, and bursts of at most 16 beats, as HBM
has them: whole frames in lock-step with golden."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.machine import BEAT_BYTES, MAX_BURST, NANO, PAGE
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from sim import lockstep
from sim.bench.cases import moved_bytes, needed_bytes
from sim.board.settings import IDEAL, DramSettings
from sim.device import SimDevice

pytestmark = [pytest.mark.rtl, pytest.mark.slow]
MACHINES = (replace(NANO, name="nano-2x256", ports=2, port_bytes=32, max_burst=16),
            replace(NANO, name="nano-1x256", ports=1, port_bytes=32, max_burst=32, tm=4, clusters=2),
            replace(NANO, name="nano-4x256", ports=4, port_bytes=32, max_burst=16, tk=16, tm=4, clusters=2))
STALLING = DramSettings(bytes_per_cycle=23, latency=60, refresh_period=400, refresh_length=30, stall=0.2, seed=4)
"""Less than a beat a cycle, pauses, and stalls of every channel."""


DAILY = MACHINES[-1]
"""Has all of it: several ports, short bursts, clusters, two lines a cycle."""


@pytest.fixture(scope="module", params=[pytest.param(machine, id=machine.name, marks=[] if machine is DAILY else
                                                     [pytest.mark.nightly]) for machine in MACHINES])
def device(request):
    found = SimDevice(request.param, dram_bytes=8 << 20)
    yield found
    found.close()


@pytest.mark.parametrize("plan", ["fast", "accurate"])
@pytest.mark.parametrize("dram", [IDEAL, STALLING], ids=["ideal", "stalling"])
def test_a_frame_is_exact_and_its_bursts_are_legal(device, plan, dram):
    machine, config = device.board.config, MODELS["nano"]
    image = compile_model(random_int_model(config, getattr(Plan, plan)(config.depth), seed=1), machine)
    task = "+".join(config.tasks)
    pixels = np.random.default_rng(5).integers(0, 256, (config.image_height, config.image_width, 3), dtype=np.uint8)
    device.board.log_reads()
    compared = lockstep.run(image, device, pixels, task, task, dram=dram, job_limit=2_000_000)
    assert compared.exact and len(compared.retired) > 40

    reads = device.board.reads()
    beat = np.where(reads["port"] == 0, BEAT_BYTES, machine.port_bytes)
    assert set(reads["port"]) == set(range(machine.ports + 1))
    assert reads["beats"].max() == machine.max_burst < MAX_BURST
    assert (reads["address"] % beat == 0).all()
    assert (reads["address"] // PAGE == (reads["address"] + reads["beats"] * beat - 1) // PAGE).all()
    assert device.board.illegal_bursts == 0

    counters = compared.machine.counters
    for p in range(machine.ports):
        assert counters[f"WEIGHT_READ{p}"] == reads["beats"][reads["port"] == 1 + p].sum() > 0
    needed = needed_bytes(image, task, compared.entries)
    assert needed <= moved_bytes(counters, machine) <= 1.5 * needed
