# SPDX-License-Identifier: Apache-2.0
"""Runs the service: opens the device, listens, and ends within seconds of SIGTERM or Ctrl-C."""

import asyncio
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from host.driver.device import Device
from host.driver.errors import InputError
from host.service.app import application
from host.service.models import Models
from host.service.service import Limits, Service

PORT = 8000
PATIENCE = 2.0
"""Seconds that the job that runs, and answers on their way, have to end."""


class _Server(uvicorn.Server):
    """uvicorn that ends on signals without raising them again, and ends the service's jobs first."""

    def __init__(self, config: uvicorn.Config, ends: Callable[[], object]):
        super().__init__(config)
        self._ends = ends

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._signalled) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, frame: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End soon; from any thread."""
        if not self.should_exit:
            self.should_exit = True
            threading.Thread(target=self._ends, name="edge-moe-ends", daemon=True).start()


def serve_http(models: Models, opens: Callable[[], Device], *, host: str = "127.0.0.1", port: int = PORT,
               limits: Limits | None = None, report: Callable[[str], None] = print,
               started: Callable[[_Server], None] = lambda server: None) -> None:
    """Serve ``models`` on the device that ``opens`` gives until SIGTERM or Ctrl-C. ``report`` hears, in sentences,
    where the page is and what becomes of the device; ``started`` gets the server, whose ``stop`` ends it too. Raises
    InputError for an address that cannot be had, and what ``opens`` raises.
    """
    with _listening(host, port) as listener:
        service = Service(models, opens, limits, report)
        service.start()
        try:
            where, port = listener.getsockname()[:2]
            local = ipaddress.ip_address(where).is_loopback
            config = uvicorn.Config(application(service, local), log_level="warning", access_log=False, lifespan="off",
                                    timeout_graceful_shutdown=int(PATIENCE) + 2, server_header=False)
            server = _Server(config, lambda: service.stop(PATIENCE))
            if not local:
                report(f"Others on the network reach {where}: the service has no authentication, and nothing is "
                       f"encrypted. Safer: leave --host out, and ssh -L {port}:127.0.0.1:{port} BOARD on the desk.")
            report(f"{', '.join(models)} on {service.worker.state.name}: "
                   f"http://{f'[{where}]' if ':' in where else where}:{port}")
            started(server)
            asyncio.run(server.serve(sockets=[listener]))
        finally:
            closed = service.stop(PATIENCE)
    report(f"{service.worker.state.name} is closed." if closed else
           f"{service.worker.state.name} still runs its job and is left to it.")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    if not 0 <= port < 1 << 16:
        raise InputError(f"A server needs a port of 0 to 65535, not {port}.")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"The service cannot listen at {host}:{port}: {error.strerror or error}. Choose another "
                         f"--port or --host.") from None
    with listener:
        yield listener
