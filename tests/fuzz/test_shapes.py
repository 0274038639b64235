# SPDX-License-Identifier: Apache-2.0
"""Shape fuzzer: any network on any machine gives the same on the integer model, in the compiled program and in RTL."""

import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from golden.device import GoldenDevice
from golden.model.int_model import IntModel
from golden.spec.machine import MachineConfig
from host.compiler.compile import compile_model
from host.compiler.passes import PASSES
from host.driver.session import Session
from host.ir.nodes import NotFitting
from sim.board.settings import DramSettings
from sim.device import SimDevice
from tests.fuzz.machines import RTL_MACHINES
from tests.fuzz.profile import RTL_SHAPES, SHAPES, examples
from tests.fuzz.strategies import machines_for, networks

LIMIT = 20_000_000
PASS_SETS = st.sampled_from([PASSES, (), *((p,) for p in PASSES), *(tuple(q for q in PASSES if q is not p)
                                                                    for p in PASSES)])


def picture(model: IntModel, seed: int) -> np.ndarray:
    c = model.config
    return np.random.default_rng(seed).integers(0, 256, (c.image_height, c.image_width, c.channels), dtype=np.uint8)


def check(model: IntModel, image, device, seed: int) -> None:
    """Every program of ``image`` on ``device`` gives what the integer model gives."""
    session, pixels = Session(image, device, job_limit=LIMIT), picture(model, seed)
    for program in image.programs:
        result = session.frame(pixels, program)
        for task in image.tasks(program):
            wanted = model.run(pixels, task)
            np.testing.assert_array_equal(result.residuals[task], wanted, err_msg=f"{program}: {task}")
            if model.config.classes:
                np.testing.assert_array_equal(result.scores[task], model.logits(wanted))


@given(st.data(), networks(), st.integers(0, 1 << 20))
@examples(SHAPES)
def test_programs_give_what_the_network_gives(data, model, seed):
    target = data.draw(machines_for(model))
    try:
        image = compile_model(model, target, passes=data.draw(PASS_SETS))
    except NotFitting as refusal:
        event(f"refused: {str(refusal).split('; ')[0][-40:]}")
        assume(False)
    event(f"programs: {len(image.programs)}")
    check(model, image, GoldenDevice(target), seed)


@pytest.fixture(scope="module", params=RTL_MACHINES, ids=lambda machine: machine.name)
def rtl(request):
    device = SimDevice(request.param, dram_bytes=64 << 20)
    yield device
    device.close()


@pytest.mark.rtl
@given(st.data(), networks(most_dim=128, most_tokens=64), st.integers(0, 1 << 20))
@examples(-(-RTL_SHAPES // len(RTL_MACHINES)))
def test_rtl_gives_what_the_network_gives(rtl, data, model, seed):
    target: MachineConfig = rtl.board.config
    try:
        image = compile_model(model, target, passes=data.draw(PASS_SETS))
    except NotFitting:
        assume(False)
    rtl.board.configure(DramSettings(latency=data.draw(st.sampled_from([1, 20, 100])),
                                     stall=data.draw(st.sampled_from([0.0, 0.3])), seed=seed))
    check(model, image, rtl, seed)

