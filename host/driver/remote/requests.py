# SPDX-License-Identifier: Apache-2.0
"""What a server does with one request of the owner: the payload is checked, then the device is asked."""

import struct
import time
from collections.abc import Callable

import numpy as np

from host.driver.device import Device, DeviceMemory, condition_of
from host.driver.remote import layouts
from host.driver.remote.frames import MOST_DATA, BadFrame, Kind, unpacked


class Requests:
    """Requests of one owner to ``device``: its buffers are numbered as they were allocated."""

    def __init__(self, device: Device):
        self._device = device
        self._buffers: list[DeviceMemory] = []
        self._done: dict[Kind, Callable[[bytes], bytes]] = {
            Kind.READ: self._read, Kind.WRITE: self._write, Kind.ALLOCATE: self._allocate, Kind.FREE: self._free,
            Kind.PUT: self._put, Kind.GET: self._get, Kind.SYNC: self._sync, Kind.WAIT: self._wait,
            Kind.RESET: self._reset, Kind.CONDITION: self._condition}

    def answer(self, kind: Kind, payload: bytes) -> bytes:
        """The payload of the answer. Raises BadFrame for what is no request, and what the device raises."""
        if kind not in self._done:
            raise BadFrame(f"A frame {kind.name} is no request.")
        return self._done[kind](payload)

    def _read(self, payload: bytes) -> bytes:
        offsets = _words(payload, 1)
        return struct.pack(f"<{len(offsets)}I", *map(self._device.read32, offsets))

    def _write(self, payload: bytes) -> bytes:
        words = _words(payload, 2)
        for offset, value in zip(words[::2], words[1::2], strict=True):
            self._device.write32(offset, value)
        return b""

    def _allocate(self, payload: bytes) -> bytes:
        size, = unpacked(layouts.SIZE, payload)
        buffer = self._device.allocate(size)
        self._buffers.append(buffer)
        return layouts.ADDRESS.pack(len(self._buffers) - 1, buffer.address)

    def _free(self, payload: bytes) -> bytes:
        _nothing(payload)
        self._buffers.clear()
        self._device.free()
        return b""

    def _put(self, payload: bytes) -> bytes:
        number, offset = unpacked(layouts.PLACE, payload[:layouts.PLACE.size])
        data = payload[layouts.PLACE.size:]
        self._part(number, offset, len(data))[:] = np.frombuffer(data, np.uint8)
        return b""

    def _get(self, payload: bytes) -> bytes:
        return self._part(*unpacked(layouts.RANGE, payload)).tobytes()

    def _sync(self, payload: bytes) -> bytes:
        number, direction = unpacked(layouts.DIRECTION, payload)
        if direction not in (layouts.TO_DEVICE, layouts.TO_CPU):
            raise BadFrame(f"There is no direction {direction}.")
        buffer = self._buffer(number)
        (buffer.sync_for_device if direction == layouts.TO_DEVICE else buffer.sync_for_cpu)()
        return b""

    def _wait(self, payload: bytes) -> bytes:
        """Wait for a while; the client asks again until the job ends or its limit is reached."""
        limit, = unpacked(layouts.SIZE, payload)
        end, done = time.monotonic() + layouts.SLICE, 0

        def heard(cycles: int) -> None:
            nonlocal done
            done = cycles
            if time.monotonic() >= end:
                raise _Enough
        try:
            state = layouts.ENDED if self._device.wait(limit, heard) else layouts.LIMIT
        except _Enough:
            state = layouts.GOES_ON
        return layouts.WAITED.pack(state, min(done, limit))

    def _reset(self, payload: bytes) -> bytes:
        _nothing(payload)
        self._device.reset()
        return b""

    def _condition(self, payload: bytes) -> bytes:
        _nothing(payload)
        return condition_of(self._device).encode()[:MOST_DATA]

    def _buffer(self, number: int) -> DeviceMemory:
        if number >= len(self._buffers):
            raise BadFrame(f"There is no buffer {number}: {len(self._buffers)} were allocated.")
        return self._buffers[number]

    def _part(self, number: int, offset: int, size: int) -> np.ndarray:
        view = self._buffer(number).view
        if size > MOST_DATA or offset + size > len(view):
            raise BadFrame(f"Bytes {offset} to {offset + size} of a buffer of {len(view)} were asked for.")
        return view[offset:offset + size]


class _Enough(Exception):
    """Ends a slice of a wait."""


def _words(payload: bytes, each: int) -> tuple[int, ...]:
    count = len(payload) // 4
    if len(payload) % (4 * each) or not 0 < count <= each * layouts.MOST_WORDS:
        raise BadFrame(f"A request for registers has {len(payload)} bytes.")
    return struct.unpack(f"<{count}I", payload)


def _nothing(payload: bytes) -> None:
    if payload:
        raise BadFrame(f"{len(payload)} bytes came with a request that has none.")
