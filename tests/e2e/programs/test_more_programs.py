# SPDX-License-Identifier: Apache-2.0
"""Programs of several pictures, of windows and of deep prompts in RTL: every instruction equals the instruction-set
simulator, every result the integer network."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from sim import lockstep
from sim.board.settings import DramSettings
from tests.host.support.compiled import picture

pytestmark = pytest.mark.rtl
MODEL = MODELS["nano"]
WINDOWS = replace(MODEL, name="windows", extra_tokens=0, window=4, window_layers=(0,))
PROMPTS = replace(MODEL, name="prompts", depth=3, extra_tokens=5, prompts=4, prompt_layers=(1, 2))


@pytest.mark.parametrize("plan", ["fast", "accurate"])
@pytest.mark.parametrize("config, pictures", [(MODEL, 3), (WINDOWS, 1), (WINDOWS, 2), (PROMPTS, 1), (PROMPTS, 2)],
                         ids=lambda v: getattr(v, "name", v))
def test_every_result_equals_the_integer_network(device, config, pictures, plan):
    network = random_int_model(config, getattr(Plan, plan)(config.depth), seed=2)
    image = compile_model(network, NANO, joint=False, pictures=pictures)
    shown = [picture(config, seed) for seed in range(pictures)]
    for task in config.tasks:
        name = task if pictures == 1 else f"{task}#{pictures}"
        found = lockstep.run(image, device, shown, name, name, dram=DramSettings(latency=20), job_limit=4_000_000)
        assert found.exact and len(found.machines) == pictures
        for pixels, result in zip(shown, found.machines, strict=True):
            np.testing.assert_array_equal(result.residuals[task], network.run(pixels, task))
