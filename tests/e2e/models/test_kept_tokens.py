# SPDX-License-Identifier: Apache-2.0
"""Token pruning in RTL: every instruction equals the simulator, whatever the bus does; cycles as predicted."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.isa import Opcode
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.compiler.pruning import pruned
from host.explore.routing import queues
from host.performance.timeline import predict
from sim import lockstep
from sim.bench.model import steps
from sim.board.settings import IDEAL, DramSettings
from sim.device import dram_model

pytestmark = pytest.mark.rtl
CONFIG = replace(MODELS["nano"], name="kept", classes=5, final_norm=True, extra_tokens=2, tasks=("task0",))
SLOW = DramSettings(latency=40, bytes_per_cycle=6)


@pytest.mark.parametrize("plan, keep, dram", [
    ("fast", "0:0.7,1:9", IDEAL), ("accurate", "0:1.0,1:2", IDEAL), ("accurate", "1:0.5", SLOW),
    ("fast", "0:31,1:30", SLOW)])
def test_every_instruction_equals_the_simulator(plan, keep, dram, device):
    config = pruned(CONFIG, keep)
    image = compile_model(random_int_model(config, getattr(Plan, plan)(config.depth), seed=3), NANO)
    shape = (config.image_height, config.image_width, config.channels)
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        found = lockstep.run(image, device, pixels, "task0", "kept", dram=dram, job_limit=2_000_000)
        assert found.exact and found.machine.kept["task0"].tolist() == found.goldens[0].kept["task0"].tolist()
        assert found.machine.features.shape == (config.last_tokens, config.dim)
    kept = [entry for entry in found.entries if entry.opcode is Opcode.KEEP]
    assert [entry.fields["keep"] for entry in kept] == [2 + count for _, count in config.keep]
    if dram is IDEAL:
        spans = predict(image, "task0", queues(found.entries), dram_model(dram, NANO))
        assert spans[-1].end == pytest.approx(found.machine.cycles, rel=0.03)
        for step in steps(found.retired, spans):
            if step.opcode is Opcode.KEEP or step.opcode is Opcode.ATTENTION:
                assert step.model == pytest.approx(step.rtl, rel=0.05, abs=40), step
