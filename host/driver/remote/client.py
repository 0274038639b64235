# SPDX-License-Identifier: Apache-2.0
"""``open_device("remote:HOST:PORT")``: the device of a server (`edge-moe serve`) as a device of this driver."""

import os
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from golden.spec.machine import PAGE
from golden.spec.tiling import ceil_div
from host.driver.device import Handle
from host.driver.errors import AccelError, DeviceBusy, DeviceLost, DeviceNotFound, InputError, VersionMismatch
from host.driver.remote import layouts
from host.driver.remote.errors import error_from
from host.driver.remote.frames import (
    MOST_DATA,
    BadFrame,
    Closed,
    Connection,
    Kind,
    OtherVersion,
    Silent,
    unpacked,
)
from host.driver.remote.handshake import greet
from host.driver.remote.token import find_token

PORT = 7411
CONNECT_LIMIT = 10.0
"""Seconds to reach the server."""


class RemoteBuffer:
    """Device memory of the server and a copy of it here. Before the device reads it, only the pages that were changed
    here are sent; after the device wrote it, all of it comes.
    """

    def __init__(self, device: "RemoteDevice", number: int, address: int, size: int):
        self.address, self._device, self._number = address, device, number
        self._mine = np.zeros(ceil_div(size, PAGE) * PAGE, np.uint8)
        self._theirs: np.ndarray | None = None
        """What the server has, in whole pages; None where nothing is known."""
        self.view = self._mine[:size]

    def sync_for_device(self) -> None:
        """Send what was changed here."""
        for begin, end in self._changed():
            end = min(end, len(self.view))
            for at in range(begin, end, MOST_DATA):
                self._device.request(Kind.PUT, layouts.PLACE.pack(self._number, at)
                                     + self.view[at:min(at + MOST_DATA, end)].tobytes())
        self._theirs = self._mine.copy()
        self._device.request(Kind.SYNC, layouts.DIRECTION.pack(self._number, layouts.TO_DEVICE))

    def sync_for_cpu(self) -> None:
        """Fetch what the device wrote."""
        self._device.request(Kind.SYNC, layouts.DIRECTION.pack(self._number, layouts.TO_CPU))
        for at in range(0, len(self.view), MOST_DATA):
            size = min(MOST_DATA, len(self.view) - at)
            data = self._device.request(Kind.GET, layouts.RANGE.pack(self._number, at, size))
            if len(data) != size:
                raise self._device.broken(f"it sent {len(data)} bytes of memory, not {size}")
            self.view[at:at + size] = np.frombuffer(data, np.uint8)
        self._theirs = self._mine.copy()

    def _changed(self) -> list[tuple[int, int]]:
        """Ranges of bytes whose pages differ from the server's, each as long as possible."""
        if self._theirs is None:
            return [(0, len(self._mine))]
        pages = (self._mine.view("<u8") != self._theirs.view("<u8")).reshape(-1, PAGE // 8).any(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], pages, [False])).astype(np.int8))) * PAGE
        return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


class RemoteDevice(Handle):
    """Connect to ``address`` (HOST:PORT) and own its device until :meth:`close`, or until the connection ends.

    ``token_file``: where the token lies (:mod:`host.driver.remote.token`). Raises DeviceNotFound when nothing answers
    there, NotAllowed for a wrong token, DeviceBusy when it has another owner, VersionMismatch. A connection that breaks
    raises DeviceLost, then and afterwards; the server stops the job and frees the device.
    """

    def __init__(self, address: str, *, token_file: "str | os.PathLike | None" = None):
        host, port = _address(address)
        self.name = f"remote:{address}"
        token, _ = find_token(token_file)
        self.closed, self._broken, self._pid = False, "", os.getpid()
        self._connection = Connection(_connected(host, port, address))
        try:
            facts = greet(self._connection, token)
        except (Closed, Silent, BadFrame) as error:
            self._connection.close()
            if isinstance(error, OtherVersion):
                raise VersionMismatch(f"{address}: {error}") from None
            raise DeviceNotFound(f"What answers at {address} is no server of edge-moe: {error}.") from None
        except AccelError:
            self._connection.close()
            raise
        self.name, self.clock_hz = f"{facts['name']} at {address}", facts["clock_hz"]
        if facts["clock_from"] is not None:
            self.clock_from = facts["clock_from"]
        # One thread talks to the server, so that a Ctrl-C in the caller leaves no frame half sent.
        self._talks = ThreadPoolExecutor(1, "edge-moe-remote")

    def read32(self, offset: int) -> int:
        return self.read_words([offset])[0]

    def write32(self, offset: int, value: int) -> None:
        self.write_words([(offset, value)])

    def read_words(self, offsets: Sequence[int]) -> list[int]:
        """The registers at ``offsets``, read one after the other on the server: one exchange instead of many."""
        found: list[int] = []
        for at in range(0, len(offsets), layouts.MOST_WORDS):
            part = offsets[at:at + layouts.MOST_WORDS]
            data = self.request(Kind.READ, struct.pack(f"<{len(part)}I", *part))
            if len(data) != 4 * len(part):
                raise self.broken(f"it sent {len(data)} bytes for {len(part)} registers")
            found += struct.unpack(f"<{len(part)}I", data)
        return found

    def write_words(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Set registers (offset, value), one after the other on the server."""
        for at in range(0, len(pairs), layouts.MOST_WORDS):
            words = [word for pair in pairs[at:at + layouts.MOST_WORDS] for word in pair]
            self.request(Kind.WRITE, struct.pack(f"<{len(words)}I", *words))

    def allocate(self, size: int) -> RemoteBuffer:
        number, address = self._fields(layouts.ADDRESS, self.request(Kind.ALLOCATE, layouts.SIZE.pack(size)))
        return RemoteBuffer(self, number, address, size)

    def free(self) -> None:
        self.request(Kind.FREE)

    def wait(self, limit: int, progress: Callable[[int], None]) -> bool:
        """The server waits, and tells how far it is several times a second."""
        done = 0
        while True:
            state, cycles = self._fields(layouts.WAITED, self.request(Kind.WAIT, layouts.SIZE.pack(limit - done)))
            if state != layouts.GOES_ON:
                return state == layouts.ENDED
            done = min(done + cycles, limit)
            progress(done)

    @property
    def condition(self) -> str:
        """The server's word on clock and temperature."""
        try:
            return self.request(Kind.CONDITION).decode(errors="replace")
        except AccelError:
            return f"clock {self.clock_hz / 1e6:g} MHz, connection lost"

    def reset(self) -> None:
        self.request(Kind.RESET)

    def close(self) -> None:
        """End the connection: the server stops what runs and frees the device. A no-op the second time, or in a forked
        child."""
        if not self.closed and self._pid == os.getpid():
            self.closed = True
            self._connection.close()
            self._talks.shutdown(wait=True)

    # -- one exchange

    def request(self, kind: Kind, payload: bytes = b"") -> bytes:
        """The server's answer to a request. Raises what it answers, and DeviceLost when it does not."""
        if self.closed:
            raise DeviceLost(f"The device {self.name} was closed.")
        if self._pid != os.getpid():
            raise DeviceBusy(f"The device {self.name} belongs to process {self._pid}, which forked this one: open it "
                             f"again there or here, not in both.")
        try:
            return self._talks.submit(self._exchange, kind, payload).result()
        except RuntimeError as error:  # closed by another thread meanwhile
            raise DeviceLost(f"The device {self.name} was closed.") from error

    def broken(self, why: str) -> DeviceLost:
        """End a connection on which nothing sensible can follow, and what to raise."""
        self._broken = self._broken or why
        self._connection.close()
        return DeviceLost(f"The connection to {self.name} is lost: {self._broken}. The server frees the device; open "
                          f"it again and make a new Session.")

    def _exchange(self, kind: Kind, payload: bytes) -> bytes:
        if self._broken:
            raise self.broken(self._broken)
        try:
            self._connection.send(kind, payload)
            while (received := self._connection.receive())[0] is Kind.WORKING:
                pass  # each is a sign of life
        except Closed as error:
            raise self.broken(str(error)) from None
        except Silent:
            raise self.broken("nothing came from the server for too long") from None
        except BadFrame as error:
            raise self.broken(f"what came is no answer: {error}") from None
        if received[0] is Kind.ERROR:
            raise error_from(received[1])
        if received[0] is not Kind.DONE:
            raise self.broken(f"a request was answered by a frame {received[0].name}")
        return received[1]

    def _fields(self, form: struct.Struct, payload: bytes) -> tuple:
        try:
            return unpacked(form, payload)
        except BadFrame as error:
            raise self.broken(str(error)) from None


def _address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, HOST or [IPV6]:PORT. Raises InputError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InputError(f"A remote device is named remote:HOST:PORT, not remote:{text}.")
    return host.strip("[]"), int(port)


def _connected(host: str, port: int, address: str) -> socket.socket:
    try:
        return socket.create_connection((host, port), CONNECT_LIMIT)
    except OSError as error:
        raise DeviceNotFound(f"Nothing answers at {address}: {error.strerror or error}. Does `edge-moe serve --device "
                             f"...` run there, and listen to this computer?") from None
