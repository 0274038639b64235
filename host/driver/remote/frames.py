# SPDX-License-Identifier: Apache-2.0
"""Messages of the remote protocol over a socket: header, payload, limits of size and time.

A frame is a header of 16 bytes, little-endian, and its payload::

    magic "EDGM" | version u8 | kind u8 | zero u16 | payload bytes u32 | CRC-32 of the payload u32

Whoever reads refuses another magic, version or kind, a payload over its limit before any of it is read, and a wrong
checksum. After a refusal the connection is closed: there is no place in the stream to go on from.
"""

import enum
import socket
import struct
import time
import zlib

VERSION = 1
MAGIC = b"EDGM"
HEADER = struct.Struct("<4sBBHII")
MOST_DATA = 1 << 20
"""Bytes of memory in one frame; larger transfers are several frames."""
MOST = MOST_DATA + 64
"""Largest payload."""
MOST_UNKNOWN = 4096
"""Largest payload from a peer that has not proved yet that it knows the token."""
SILENCE = 30.0
"""Seconds without a byte of the peer, while a frame or an answer is awaited, after which it is given up."""
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""A peer whose cable was pulled is found in 25 seconds."""


class Kind(enum.IntEnum):
    """What a frame is: greetings, requests, answers."""

    CHALLENGE = 1
    PROOF = 2
    WELCOME = 3
    READ = 16
    WRITE = 17
    ALLOCATE = 18
    FREE = 19
    PUT = 20
    GET = 21
    SYNC = 22
    WAIT = 23
    RESET = 24
    CONDITION = 25
    DONE = 48
    ERROR = 49
    WORKING = 50
    """The request is at work; its answer follows."""


class Closed(Exception):
    """The peer has closed the connection, or it broke."""


class Silent(Exception):
    """Nothing came from the peer in time."""


class BadFrame(Exception):
    """What came is no frame of this protocol; the message says why."""


class OtherVersion(BadFrame):
    """The peer speaks another version of the protocol."""


class Connection:
    """Frames over a connected socket. One thread sends and receives at a time."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a frame within :data:`SILENCE`. Raises Closed, Silent."""
        if len(payload) > MOST:
            raise BadFrame(f"A frame holds {MOST} bytes, not {len(payload)}.")
        header = HEADER.pack(MAGIC, VERSION, kind, 0, len(payload), zlib.crc32(payload))
        try:
            self._sock.settimeout(SILENCE)
            self._sock.sendall(header + payload)
        except TimeoutError:
            raise Silent(f"{SILENCE:g} s passed and a frame was not taken") from None
        except OSError as error:
            raise Closed(error.strerror or str(error)) from None

    def receive(self, most: int = MOST, patience: "float | None" = None) -> tuple[Kind, bytes]:
        """The next frame: its first byte comes within ``patience``, :data:`SILENCE` when None, the rest within
        :data:`SILENCE`. Raises Closed, Silent, BadFrame."""
        first = self._bytes(1, time.monotonic() + (SILENCE if patience is None else patience))
        end = time.monotonic() + SILENCE
        magic, version, kind, zero, size, check = HEADER.unpack(first + self._bytes(HEADER.size - 1, end))
        if magic != MAGIC:
            raise BadFrame(f"A frame begins with {MAGIC!r}, not {magic!r}.")
        if version != VERSION:
            raise OtherVersion(f"The peer speaks version {version} of the protocol, this driver {VERSION}: take the "
                               f"same edge-moe on both sides.")
        if kind not in Kind.__members__.values() or zero:
            raise BadFrame(f"There is no frame of kind {kind} with the flags {zero}.")
        if size > most:
            raise BadFrame(f"A payload of {size} bytes is announced; {most} are allowed here.")
        payload = self._bytes(size, end)
        if zlib.crc32(payload) != check:
            raise BadFrame(f"The checksum of a payload of {size} bytes is wrong.")
        return Kind(kind), payload

    def close(self) -> None:
        """End the connection; a thread that waits for the peer hears it at once."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already
        self._sock.close()

    def _bytes(self, count: int, end: float) -> bytes:
        parts, missing = [], count
        while missing:
            try:
                self._sock.settimeout(max(end - time.monotonic(), 0.001))
                part = self._sock.recv(min(missing, 1 << 18))
            except TimeoutError:
                raise Silent(f"{missing} bytes of a frame did not come in time") from None
            except OSError as error:
                raise Closed(error.strerror or str(error)) from None
            if not part:
                raise Closed("closed by the peer")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def unpacked(form: struct.Struct, payload: bytes) -> tuple:
    """The fields of a payload of fixed size. Raises BadFrame for another size."""
    if len(payload) != form.size:
        raise BadFrame(f"A payload has {len(payload)} bytes, not {form.size}.")
    return form.unpack(payload)
