# SPDX-License-Identifier: Apache-2.0
"""Clusters of token lanes: frames on a small machine with two of them, every instruction compared, cycles predicted;
hazards between clusters."""

from dataclasses import replace

import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.explore.routing import queues
from host.performance.timeline import predict
from sim import lockstep
from sim.board.settings import DramSettings
from sim.device import SimDevice, dram_model
from tests.host.support.compiled import picture

pytestmark = pytest.mark.rtl
PAIR = replace(NANO, name="pair", tm=4, clusters=2)


@pytest.fixture(scope="module")
def pair():
    device = SimDevice(PAIR)
    yield device
    device.close()


@pytest.mark.parametrize("change", [
    {}, {"image_width": 56, "top_k": 3},  # 28 patches: no multiple of four lanes
    {"moe_layers": (0, 1), "top_k": 4},  # every expert updates every token: rows of one cluster after the other's
    {"image_width": 8, "image_height": 24},  # 3 patches and a class token: the second cluster has a lane at most
], ids=["plain", "ragged", "all experts", "few tokens"])
@pytest.mark.parametrize("plan", ["fast", "accurate"])
def test_frames_are_exact_instruction_by_instruction(pair, change, plan):
    config = replace(MODELS["nano"], **change)
    image = compile_model(random_int_model(config, getattr(Plan, plan)(config.depth), seed=3), PAIR)
    for program in image.programs:
        run = lockstep.run(image, pair, picture(config), program, program)
        assert run.exact and len(run.retired) > 20
        spans = predict(image, program, queues(run.entries), dram_model(DramSettings(), PAIR))
        assert spans[-1].end == pytest.approx(run.machine.cycles, rel=0.03)
