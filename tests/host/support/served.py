# SPDX-License-Identifier: Apache-2.0
"""Servers of remote devices in a thread of the test or in a process, clients, and devices that take their time."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

from golden.device import GoldenDevice
from host.driver import Session, open_device
from host.driver.remote.frames import Connection
from host.driver.remote.server import Server
from host.driver.remote.token import VALUE
from tests.host.support.devices import Slow, compiled, works
from tests.host.support.processes import within

TOKEN = "a token of the tests, long enough"


class Endless(Slow):
    """Jobs run until they are aborted or the device is reset; the clock is slow, so that limits are seconds."""

    clock_hz = 3e5
    resets = -1  # the constructor's is not counted

    def wait(self, limit, progress):
        began = time.monotonic()
        while not GoldenDevice.wait(self, limit, progress):
            cycles = int((time.monotonic() - began) * self.clock_hz)
            if cycles >= limit:
                return False
            progress(cycles)
            time.sleep(0.005)
        return True

    def reset(self):
        super().reset()
        self.resets += 1


class Serving:
    """A server in a thread of this process; ``devices``: all that it has opened, ``said``: its report."""

    def __init__(self, opens, **options):
        self.devices, self.said = [], []

        def opened():
            self.devices.append(opens())
            return self.devices[-1]
        self.server = Server(opened, TOKEN.encode(), report=self.said.append, **options)
        self.address = f"127.0.0.1:{self.server.port}"
        self._thread = threading.Thread(target=self.server.serve, daemon=True)
        self._thread.start()

    @property
    def device(self):
        return self.devices[-1]

    def open(self):
        return open_device(f"remote:{self.address}")

    def raw(self):
        """A socket of somebody who knows nothing yet."""
        return socket.create_connection(("127.0.0.1", self.server.port), 5)

    def connection(self):
        return Connection(self.raw())

    def stop(self):
        self.server.stop()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server goes on"


def lives(at):
    """A new client runs a frame exactly."""
    assert within(10, lambda: not at.server._owned.locked())
    with at.open() as device:
        works(Session(compiled()[1], device), compiled()[0])


@contextmanager
def process(device, *options, patience=60, environment=None):
    """`python -m host.driver serve` in a process of its own: (process, address)."""
    command = [sys.executable, "-m", "host.driver", "serve", "--device", device, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                          env=os.environ | {VALUE: TOKEN} | (environment or {})) as server:
        try:
            yield server, address_of(server)
        finally:
            server.kill()


def address_of(server):
    """Where a server process says that it is."""
    for line in server.stdout:
        if found := re.search(r"--device remote:(\S+)", line):
            return found[1]
    raise AssertionError(f"The server ended with {server.wait(10)}.")
