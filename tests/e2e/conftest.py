# SPDX-License-Identifier: Apache-2.0
"""One simulated nano board for all end-to-end tests, and what runs on it."""

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from sim.device import SimDevice


@pytest.fixture(scope="session")
def device():
    board = SimDevice(NANO, dram_bytes=8 << 20)
    yield board
    board.close()


@pytest.fixture(scope="session", params=["fast", "accurate"])
def model(request):
    config = MODELS["nano"]
    return random_int_model(config, getattr(Plan, request.param)(config.depth), seed=1)


@pytest.fixture(scope="session")
def image(model):
    return compile_model(model, NANO)


@pytest.fixture
def picture():
    config = MODELS["nano"]
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (config.image_height, config.image_width, 3), dtype=np.uint8)
