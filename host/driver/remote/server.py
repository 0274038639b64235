# SPDX-License-Identifier: Apache-2.0
"""The server on the board: takes connections, checks tokens, and lends the device to one owner at a time.

Whatever ends an owner (a close, a killed process, a pulled cable, a frame that is none) frees the device: what runs
is stopped and the machine is reset before the next owner is let in. All accesses to the device are made by one thread.
"""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress

from host.driver.device import Device
from host.driver.errors import AccelError, DeviceBusy, DeviceLost
from host.driver.remote.errors import error_bytes
from host.driver.remote.frames import BadFrame, Closed, Connection, Kind, Silent
from host.driver.remote.handshake import check_client, welcome
from host.driver.remote.requests import Requests

Report = Callable[[str], None]
TICK = 1.0
"""Seconds between signs of life while a request is at work."""
IDLE = 3600.0
"""Seconds without a request after which an owner loses the device."""
HANDOVER = 3.0
"""Seconds that a client waits for the device to come to rest after its last owner."""
STRANGERS = 16
"""Connections at a time that have not shown the token yet; more are closed."""
POLL = 0.2


class Server:
    """Lend the device that ``opens`` gives; it is opened at once, and again when it could not be brought to rest.

    ``port`` 0 takes a free one (:attr:`port`). ``idle``: seconds after which a silent owner loses the device.
    ``report`` hears a sentence for each owner. Raises what ``opens`` raises, and OSError when the address is taken.
    """

    def __init__(self, opens: Callable[[], Device], token: bytes, host: str = "127.0.0.1", port: int = 0, *,
                 idle: float = IDLE, report: Report = lambda text: None):
        self._opens, self._token, self._idle, self._report = opens, token, idle, report
        self._works = ThreadPoolExecutor(1, "edge-moe-device")
        self._stopping, self._owned = threading.Event(), threading.Lock()
        self._owner, self._connection = "", None
        self._strangers = threading.Semaphore(STRANGERS)
        self._threads: set[threading.Thread] = set()
        self._device: Device | None = self._works.submit(opens).result()
        try:
            self._listener = socket.create_server((host, port), family=_family(host), backlog=STRANGERS)
        except BaseException:
            self._works.submit(self._device.close).result()
            self._works.shutdown()
            raise
        self._listener.settimeout(POLL)
        self.host, self.port = self._listener.getsockname()[:2]
        self.name = self._device.name

    def serve(self) -> None:
        """Take connections until :meth:`stop`, or an exception such as Ctrl-C; then close the device."""
        try:
            while not self._stopping.is_set():
                try:
                    sock, address = self._listener.accept()
                except TimeoutError:
                    continue
                except OSError:
                    time.sleep(POLL)  # no descriptor is free, or the client was gone already
                    continue
                self._take(sock, f"{address[0]}:{address[1]}")
        finally:
            self._end()

    def stop(self) -> None:
        """End :meth:`serve` soon, from another thread."""
        self._stopping.set()

    def _take(self, sock: socket.socket, peer: str) -> None:
        if not self._strangers.acquire(blocking=False):
            sock.close()
            return
        thread = threading.Thread(target=self._meet, args=(Connection(sock), peer), name=f"edge-moe-{peer}",
                                  daemon=True)
        self._threads = {each for each in self._threads if each.is_alive()} | {thread}
        thread.start()

    def _end(self) -> None:
        self._stopping.set()
        self._listener.close()
        if (connection := self._connection) is not None:
            connection.close()
        for thread in self._threads:
            thread.join(2 * HANDOVER)
        self._works.submit(self._close).result()
        self._works.shutdown()

    # -- one connection

    def _meet(self, connection: Connection, peer: str) -> None:
        try:
            try:
                shown = check_client(connection, self._token)
            finally:
                self._strangers.release()
            self._lend(connection, peer, shown)
        except (Closed, Silent):
            pass
        except (BadFrame, AccelError) as error:
            self._report(f"{peer} was refused: {error}")
            with suppress(Closed, Silent):
                connection.send(Kind.ERROR, error_bytes(_told(error)))
        finally:
            connection.close()

    def _lend(self, connection: Connection, peer: str, shown: bytes) -> None:
        if not self._owned.acquire(timeout=HANDOVER):
            raise DeviceBusy(f"The device {self.name} belongs to {self._owner}. Wait for it or stop it.")
        try:
            self._owner, self._connection = f"{peer} since {time.strftime('%H:%M:%S')}", connection
            device = self._asked(connection, self._ready)
            welcome(connection, shown, {"name": device.name, "clock_hz": device.clock_hz,
                                        "clock_from": getattr(device, "clock_from", None)})
            self._report(f"{peer} owns {device.name}")
            try:
                self._answer(connection, Requests(device))
            except (Closed, Silent) as error:
                self._report(f"{peer} left {device.name}: {error}")
            finally:
                self._works.submit(self._rest).result()
        finally:
            self._connection = None
            self._owned.release()

    def _answer(self, connection: Connection, requests: Requests) -> None:
        while not self._stopping.is_set():
            kind, payload = connection.receive(patience=self._idle)
            try:
                answer = Kind.DONE, self._asked(connection, requests.answer, kind, payload)
            except (BadFrame, Closed, Silent):
                raise
            except Exception as error:  # of the device: its owner is told, and the server goes on
                answer = Kind.ERROR, error_bytes(error)
            connection.send(*answer)

    def _asked(self, connection: Connection, do: Callable, *arguments: object):
        """What the device's thread makes of it; the peer hears meanwhile that it is at work."""
        future: Future = self._works.submit(do, *arguments)
        while not wait_for([future], TICK).done:
            connection.send(Kind.WORKING)
        return future.result()

    # -- in the device's thread

    def _ready(self) -> Device:
        if self._device is None:
            self._device = self._opens()
        return self._device

    def _rest(self) -> None:
        """Stop what the last owner left running; a device that cannot be brought to rest is opened anew."""
        try:
            if self._device is not None:
                self._device.reset()
                self._device.free()
        except Exception as error:
            self._report(f"{self.name} did not come to rest, and is opened anew: {error}")
            self._close()

    def _close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            with suppress(AccelError):
                device.close()


def _told(error: "BadFrame | AccelError") -> AccelError:
    return error if isinstance(error, AccelError) else DeviceLost(f"The server refused a frame: {error}")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
