# SPDX-License-Identifier: Apache-2.0
"""The analytic performance model against cycle-exact RTL: total, each kind of instruction, each instruction."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO, ZCU102
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.explore.routing import queues
from host.performance.timeline import predict
from sim import lockstep
from sim.bench.model import by_kind, steps
from sim.board.settings import IDEAL, ZCU102_DDR4, DramSettings
from sim.device import SimDevice, dram_model

pytestmark = pytest.mark.rtl
FOUR_PORTS = replace(NANO, name="nano-4-ports", ports=4, ring_lines=256)
"""Small, with ports that compete for bandwidth and a ring that holds few layers, so that the weight stream can be what
sets the pace."""
SCARCE = DramSettings(bytes_per_cycle=12, latency=40)
"""A fifth of what the ports could take: the weight stream sets the pace, and a port served last would starve."""
REFRESHING = DramSettings(bytes_per_cycle=57, latency=120, refresh_period=250, refresh_length=25)
LIMIT = 2_000_000


def config_of(name):
    """Enough tokens that fixed latencies do not hide what is tested."""
    config = MODELS[name]
    return replace(config, image_height=32, image_width=48) if name == "nano" else config


@pytest.fixture(scope="module")
def small():
    board = SimDevice(FOUR_PORTS, dram_bytes=8 << 20)
    yield board
    board.close()


@pytest.fixture(scope="module")
def full():
    board = SimDevice(ZCU102)
    yield board
    board.close()


def measured(device, config, plan, dram, tasks=1):
    """(cycles of the job, cycles predicted, steps) of one frame on ``device``."""
    image = compile_model(random_int_model(config, getattr(Plan, plan)(config.depth), seed=1), device.board.config)
    task = "+".join(config.tasks[:tasks])
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (config.image_height, config.image_width, 3), dtype=np.uint8)
    compared = lockstep.run(image, device, pixels, task, task, dram=dram, job_limit=LIMIT)
    spans = predict(image, task, queues(compared.entries), dram_model(dram, image.machine))
    return compared.machine.cycles, spans[-1].end, steps(compared.retired, spans)



@pytest.mark.parametrize("plan, dram, tasks", [
    ("fast", IDEAL, 1), ("accurate", IDEAL, 1), ("fast", IDEAL, 2), ("fast", SCARCE, 1), ("fast", REFRESHING, 1),
], ids=["fast", "accurate", "both-tasks", "scarce", "refreshing"])
def test_a_small_frame(plan, dram, tasks, small):
    cycles, predicted, found = measured(small, config_of("nano"), plan, dram, tasks)
    assert predicted == pytest.approx(cycles, rel=0.03)
    check_kinds(found, 0.05)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("plan, dram, tasks", [
    ("fast", IDEAL, 1), ("fast", ZCU102_DDR4, 1), ("accurate", IDEAL, 1), ("fast", IDEAL, 2),
], ids=["fast", "ddr4", "accurate", "both-tasks"])
def test_the_full_frame(plan, dram, tasks, full):
    cycles, predicted, found = measured(full, config_of("m3vit-tiny"), plan, dram, tasks)
    assert predicted == pytest.approx(cycles, rel=0.01)
    check_kinds(found, 0.03)
    if dram is IDEAL and tasks == 1:  # when a refresh falls, or which of two gates is done first, it does not know
        check_instructions(found, 0.03, 40)


def check_kinds(found, relative):
    for kind, (rtl, model) in by_kind(found).items():
        assert model == pytest.approx(rtl, rel=relative, abs=40), kind.name


def check_instructions(found, relative, cycles):
    wrong = [step for step in found if abs(step.model - step.rtl) > max(relative * step.rtl, cycles)]
    assert len(wrong) <= len(found) // 100, wrong

