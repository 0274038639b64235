# SPDX-License-Identifier: Apache-2.0
"""Compiled random models and pictures for the compiler's tests."""

from dataclasses import replace

import numpy as np

from golden.model.random_int_model import random_int_model
from golden.spec import model
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model

PLANS = {"fast": Plan.fast, "accurate": Plan.accurate}
SMALL_DEIT = replace(model.DEIT_SMALL, depth=2)
TINY = replace(model.M3VIT_TINY, depth=4, moe_layers=(1, 3))


def compiled(config, target, plan="fast", seed=0, **options):
    network = random_int_model(config, PLANS[plan](config.depth), seed)
    return network, compile_model(network, target, **options)


def picture(config, seed=1):
    shape = (config.image_height, config.image_width, config.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
