# SPDX-License-Identifier: Apache-2.0
"""Services that end with their test, or with their module where nothing is done to their devices."""

import pytest

from golden.device import GoldenDevice
from golden.spec.machine import NANO, ZCU102
from tests.browser.launch import browser
from tests.host.support.services import Running, models_of, nano, street


@pytest.fixture
def serving():
    """Makes services: ``serving(models, device function, limits)``."""
    started = []

    def start(*arguments):
        started.append(Running(*arguments))
        return started[-1]
    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
def streets():
    """A service of the small street model on golden."""
    running = Running(models_of(street=street()[1]), lambda: GoldenDevice(ZCU102))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def nanos():
    """A service of the nano model on golden."""
    running = Running(nano(), lambda: GoldenDevice(NANO))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened
