# SPDX-License-Identifier: Apache-2.0
"""Profiled runs: of a network with the street model's shape on golden, and of a nano network on any device."""

import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec import machine
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.profile.ranges import value_ranges
from host.profile.run import profile
from host.training.recipe import STREET
from tests.browser.launch import browser
from tests.host.support.devices import picture


@pytest.fixture(scope="session")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def street():
    """(profile, value ranges) of both tasks of a picture; the weights are seeded."""
    network = random_int_model(STREET, Plan.fast(STREET.depth, STREET.task_heads), seed=3)
    pixels = picture(STREET)
    found = profile(compile_model(network, machine.ZCU102), GoldenDevice(machine.ZCU102), pixels, "semseg+depth")
    return found, value_ranges(network, pixels, STREET.tasks)
