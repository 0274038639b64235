# SPDX-License-Identifier: Apache-2.0
"""A server among clients that are wrong, many, garbled or gone: it lives, and its device stays clean and owned."""

import socket
import struct
import threading
import time
import zlib

import numpy as np
import pytest

from host.driver import Session, open_device
from host.driver.errors import DeviceBusy, DeviceLost, DeviceNotFound, NotAllowed, VersionMismatch
from host.driver.remote import frames, handshake, layouts, server
from host.driver.remote.errors import error_from
from host.driver.remote.frames import HEADER, MAGIC, MOST, MOST_UNKNOWN, VERSION, Kind
from host.driver.remote.token import VALUE
from tests.host.support.devices import compiled, works
from tests.host.support.processes import within
from tests.host.support.served import TOKEN, Endless, lives


def frame(kind=Kind.READ, payload=b"", *, magic=MAGIC, version=VERSION, zero=0, size=None, check=None):
    size = len(payload) if size is None else size
    return HEADER.pack(magic, version, kind, zero, size, zlib.crc32(payload) if check is None else check) + payload



# -- who may

def test_a_wrong_token_is_refused_and_the_device_is_not_touched(serving, monkeypatch):
    at = serving()
    with monkeypatch.context() as patch:
        patch.setenv(VALUE, TOKEN + "!")
        at.device.seen.clear()
        with pytest.raises(NotAllowed, match="is not the one of this server"):
            at.open()
    assert not at.device.seen and any("was refused" in text for text in at.said)
    assert not any(TOKEN in text for text in at.said)
    lives(at)


def test_the_token_is_never_sent(serving, monkeypatch):
    sent = []
    monkeypatch.setattr(frames.Connection, "send", lambda self, kind, payload=b"", send=frames.Connection.send:
                        (sent.append(payload), send(self, kind, payload))[1])
    with serving().open():
        pass
    assert len(sent) >= 3 and not any(TOKEN.encode() in payload for payload in sent)


def test_a_recorded_proof_is_of_no_use_a_second_time(serving, monkeypatch):
    at, proofs = serving(), []
    monkeypatch.setattr(frames.Connection, "send", lambda self, kind, payload=b"", send=frames.Connection.send:
                        (proofs.append(payload) if kind is Kind.PROOF else None, send(self, kind, payload))[1])
    with at.open():
        pass
    again = at.connection()
    again.receive()
    again.send(Kind.PROOF, proofs[0])
    assert again.receive()[0] is Kind.ERROR


def test_a_server_that_does_not_know_the_token_is_refused(serving, monkeypatch):
    at = serving()
    monkeypatch.setattr(server, "check_client", lambda connection, token: (
        connection.send(Kind.CHALLENGE, b"s" * 32), connection.receive(), b"x" * 32)[2])
    with pytest.raises(NotAllowed, match="The server does not know the token"):
        at.open()


def test_a_second_owner_is_refused_with_the_name_of_the_first(serving):
    at = serving()
    with at.open() as device:
        session = Session(compiled()[1], device)
        first = device._connection._sock.getsockname()
        with pytest.raises(DeviceBusy, match=rf"nano belongs to 127.0.0.1:{first[1]} since \d\d:\d\d:\d\d. Wait"):
            at.open()
        works(session, compiled()[0])
    lives(at)


def test_a_client_that_comes_while_the_device_is_handed_over_waits_a_little(serving):
    at = serving()
    first = at.open()
    threading.Timer(0.3, first.close).start()
    with at.open() as device:
        works(Session(compiled()[1], device), compiled()[0])


# -- what is no frame

GARBAGE = {
    "no frame": b"GET / HTTP/1.1\r\nHost: board\r\n\r\n",
    "a pickle": b"\x80\x04\x95" + bytes(64),
    "other magic": frame(magic=b"EDGE"),
    "other version": frame(version=VERSION + 1),
    "unknown kind": frame(kind=99),
    "flags": frame(zero=1),
    "oversize": frame(size=MOST + 1),
    "huge": frame(size=0xFFFF_FFFF),
    "wrong checksum": frame(payload=b"\x10\0\0\0", check=1),
    "no request": frame(Kind.WELCOME, b"hello"),
    "ragged registers": frame(payload=b"\0" * 5),
    "no registers": frame(payload=b""),
    "too many registers": frame(payload=bytes(4 * layouts.MOST_WORDS + 4)),
    "half a pair": frame(Kind.WRITE, bytes(4)),
    "short allocation": frame(Kind.ALLOCATE, bytes(4)),
    "a buffer that is not": frame(Kind.GET, layouts.RANGE.pack(7, 0, 1)),
    "put nowhere": frame(Kind.PUT, b"\0\0"),
    "no direction": frame(Kind.SYNC, layouts.DIRECTION.pack(0, 9)),
    "a body to FREE": frame(Kind.FREE, b"x"),
    "random": np.random.default_rng(5).bytes(5000),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_of_a_stranger_is_refused(serving, data):
    at = serving()
    at.device.seen.clear()
    sock = at.raw()
    sock.sendall(data)
    assert _answers(sock)[-1][0] == Kind.ERROR
    sock.close()
    assert not at.device.seen
    lives(at)


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_of_the_owner_ends_it_and_frees_the_device(serving, data):
    at = serving(Endless)
    device = at.open()
    session = Session(compiled()[1], device)
    session.start(bytes(session.image.input_bytes("task0")))
    assert not at.device.read32(0) & 4, "no job runs"
    device._connection._sock.sendall(data)
    assert within(10, lambda: at.device.resets == 1)
    with pytest.raises(DeviceLost, match="connection to .* is lost|refused a frame"):
        device.read32(0x10)
        device.read32(0x10)
    device.close()
    with at.open() as new:
        assert Session(compiled()[1], new).regs.idle


@pytest.mark.parametrize("offset, size", [(0, 5001), (5000, 1), (4999, 2), (1 << 63, 1), (0, frames.MOST_DATA + 1)])
def test_no_byte_outside_of_a_buffer_is_read_or_written(serving, offset, size):
    for put in (True, False):
        at = serving()
        device = at.open()
        mine = at.device._dram.view(device.allocate(5000).address, 5000)
        mine[:] = 7
        request = (Kind.PUT, layouts.PLACE.pack(0, offset) + bytes(min(size, MOST - 16))) if put else \
            (Kind.GET, layouts.RANGE.pack(0, offset, size))
        with pytest.raises(DeviceLost, match="The server refused a frame: Bytes"):
            device.request(*request)
        assert (mine == 7).all()
        device.close()


def test_a_frame_that_never_ends_costs_its_sender_only(serving, monkeypatch):
    monkeypatch.setattr(handshake, "PATIENCE", 0.3)
    monkeypatch.setattr(frames, "SILENCE", 0.3)
    at = serving()
    slow = [at.raw() for _ in range(3)]
    for sock in slow:
        sock.sendall(frame(Kind.PROOF, bytes(64))[:7])
    lives(at)
    for sock in slow:
        sock.settimeout(5)
        while sock.recv(4096):
            pass  # until the server has closed it


def test_strangers_who_say_nothing_do_not_shut_the_owner_out_for_long(serving, monkeypatch):
    monkeypatch.setattr(handshake, "PATIENCE", 0.5)
    at = serving()
    crowd = [at.raw() for _ in range(server.STRANGERS + 5)]
    time.sleep(1.0)
    lives(at)
    for sock in crowd:
        sock.close()


def test_another_version_is_told_in_a_sentence_on_both_sides(serving):
    at = serving()
    sock = at.raw()
    sock.sendall(frame(Kind.PROOF, bytes(64), version=2))
    told = error_from(_answers(sock)[-1][1])
    assert "speaks version 2 of the protocol, this driver 1: take the same edge-moe" in str(told)
    with pytest.raises(VersionMismatch, match="127.*: The peer speaks version 2 of the protocol, this driver 1"):
        answered(frame(Kind.CHALLENGE, bytes(32), version=2))


def test_something_else_that_answers_is_no_server():
    with pytest.raises(DeviceNotFound, match="is no server of edge-moe: A frame begins with"):
        answered(b"SSH-2.0-OpenSSH_9.2 and more than a header\r\n")
    with pytest.raises(DeviceNotFound, match="is no server of edge-moe: closed by the peer"):
        answered(b"")
    with pytest.raises(DeviceNotFound, match="is no server of edge-moe: A server begins with its challenge"):
        answered(frame(Kind.DONE))


def answered(data):
    """Open the device of somebody who says ``data`` and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            sock, _ = listener.accept()
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(5)
            while sock.recv(4096):
                pass
            sock.close()
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            open_device(f"remote:127.0.0.1:{listener.getsockname()[1]}")
        finally:
            thread.join(5)


def _answers(sock):
    """All frames until the other side closes: (kind, payload)."""
    sock.settimeout(10)
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        pass  # closed with unread bytes of ours
    found = []
    while data:
        magic, version, kind, _, size, check = HEADER.unpack(data[:HEADER.size])
        assert (magic, version) == (MAGIC, VERSION) and zlib.crc32(data[HEADER.size:HEADER.size + size]) == check
        found.append((kind, data[HEADER.size:HEADER.size + size]))
        data = data[HEADER.size + size:]
    return found


def test_limits_hold_for_the_sizes_that_are_sent():
    assert layouts.PLACE.size + frames.MOST_DATA <= MOST and 8 * layouts.MOST_WORDS <= MOST
    assert MOST_UNKNOWN < MOST and struct.calcsize("<4sBBHII") == HEADER.size == 16
