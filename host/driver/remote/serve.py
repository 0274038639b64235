# SPDX-License-Identifier: Apache-2.0
"""The verb `serve` of edge-moe and edge-moe-driver: open a device, print where it is, lend it until a signal."""

import ipaddress
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from host.driver.device import Device
from host.driver.errors import InputError
from host.driver.remote.client import PORT
from host.driver.remote.server import IDLE, Report, Server
from host.driver.remote.token import server_token

LOOPBACK = "127.0.0.1"


def serve(opens: Callable[[], Device], *, host: str = LOOPBACK, port: int = PORT,
          token_file: "str | os.PathLike | None" = None, idle: float = IDLE, report: Report = print) -> None:
    """Lend what ``opens`` gives to one client after another until SIGTERM or Ctrl-C. ``report`` hears, in sentences,
    where the token lies, where the device is found, and who owns it. Raises NotAllowed, InputError, what ``opens``
    raises, and OSError when the address cannot be taken.
    """
    if not 0 <= port < 1 << 16 or not idle > 0:
        raise InputError(f"A server needs a port of 0 to 65535 and more than 0 seconds of idleness, not {port} and "
                         f"{idle:g}.")
    token, source = server_token(token_file)
    server = Server(opens, token, host, port, idle=idle, report=report)
    report(f"The token is in {source}; clients need the same.")
    if not _is_loopback(server.host):
        report(f"Others on the network reach {server.host}; what is sent is neither encrypted nor signed. Safer: "
               f"--host {LOOPBACK}, and ssh -L {server.port}:{LOOPBACK}:{server.port} BOARD on the desk.")
    shown = f"[{server.host}]" if ":" in server.host else server.host
    report(f"{server.name} is served: --device remote:{shown}:{server.port}")
    with _stops_at_sigterm(server), suppress(KeyboardInterrupt):
        server.serve()
    report(f"{server.name} is closed.")


@contextmanager
def _stops_at_sigterm(server: Server) -> Iterator[None]:
    """SIGTERM ends the server as Ctrl-C does, without an exception in the middle of its work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: server.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
