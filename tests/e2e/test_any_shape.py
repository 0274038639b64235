# SPDX-License-Identifier: Apache-2.0
"""Shapes that once stopped the machine or gave wrong results, in RTL: any number of rounds, experts and tokens."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec import isa
from golden.spec.isa import Opcode
from golden.spec.machine import ZCU102
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.compiler.passes import PASSES
from host.driver.session import Session
from sim.board.settings import DramSettings
from sim.device import SimDevice
from tests.host.compiler.test_any_shape import MANY, ROUNDS, WIDE
from tests.host.support.compiled import picture

pytestmark = pytest.mark.rtl


def rounds(image) -> int:
    return sum(isa.decode(word)[0] is Opcode.EXPERTS for word in image.words())


def check(config, plan, device, passes) -> int:
    """Rounds of the program, whose result in RTL equals the network's."""
    network = random_int_model(config, getattr(Plan, plan)(config.depth))
    image = compile_model(network, device.board.config, joint=False, passes=passes)
    for task in config.tasks:
        result = Session(image, device, job_limit=20_000_000).frame(picture(config), task)
        np.testing.assert_array_equal(result.residuals[task], network.run(picture(config), task))
    return rounds(image)


@pytest.mark.parametrize("width, height, dim, hidden, plan, wanted", [
    (64, 32, 64, 64, "fast", (1, 1)), (64, 32, 64, 512, "accurate", (3, 3)), (64, 56, 32, 512, "accurate", (5, 3)),
    (64, 56, 64, 512, "fast", (3, 3))])
@pytest.mark.parametrize("passes", [(), PASSES], ids=["plain", "passes"])
def test_experts_in_any_number_of_rounds(width, height, dim, hidden, plan, wanted, passes, device):
    """Without passes, and with those that normalize a range while the one before it is at work: less is live then."""
    device.board.configure(DramSettings(latency=20))
    config = replace(MODELS["nano"], image_width=width, image_height=height, dim=dim, heads=1, depth=1, moe_layers=(0,),
                     expert_hidden=hidden)
    assert check(config, plan, device, passes) == wanted[bool(passes)]


@pytest.fixture(scope="module")
def reference():
    board = SimDevice(ZCU102)
    yield board
    board.close()


@pytest.mark.nightly
@pytest.mark.parametrize("config, plan, passes, wanted", [
    (ROUNDS, "accurate", (), 3), (ROUNDS, "accurate", PASSES, 3), (WIDE, "fast", PASSES, 1), (MANY, "fast", PASSES, 2)],
    ids=lambda v: getattr(v, "name", None))
def test_on_the_reference_machine(config, plan, passes, wanted, reference):
    assert check(config, plan, reference, passes) == wanted
