# SPDX-License-Identifier: Apache-2.0
"""Servers that end with their test; the token is in the environment."""

import pytest

from host.driver.remote import server
from host.driver.remote.token import VALUE
from tests.host.support.devices import Recorded
from tests.host.support.served import TOKEN, Serving


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv(VALUE, TOKEN)


@pytest.fixture
def serving(monkeypatch):
    """Makes servers: ``serving(device class or function, **options)``."""
    monkeypatch.setattr(server, "HANDOVER", 1.0)
    started = []

    def start(opens=Recorded, **options):
        started.append(Serving(opens, **options))
        return started[-1]
    yield start
    for each in started:
        each.stop()
