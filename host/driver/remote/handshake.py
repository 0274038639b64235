# SPDX-License-Identifier: Apache-2.0
"""How both sides prove that they know the token, which itself is never sent.

The server sends a random challenge, the client a challenge of its own and HMAC-SHA256(token, role, both challenges),
the server the same of its role with the facts of its device. Proofs are compared in constant time, and one recorded
is of no use for another connection. What follows is neither encrypted nor signed: across a network that others share,
run it through ssh.
"""

import hashlib
import hmac
import json
import secrets

from host.driver.errors import NotAllowed
from host.driver.remote.errors import error_from
from host.driver.remote.frames import MOST_UNKNOWN, BadFrame, Connection, Kind

CHALLENGE_BYTES, PROOF_BYTES = 32, 32
PATIENCE = 10.0
"""Seconds that each side has for each of its greetings."""


def proof(token: bytes, role: bytes, server: bytes, client: bytes) -> bytes:
    """What only somebody with the token can compute; ``role``: who proves it."""
    return hmac.new(token, role + b"\0" + server + client, hashlib.sha256).digest()


def check_client(connection: Connection, token: bytes) -> bytes:
    """The server's part before it knows the client: the proof to send in the welcome. Raises NotAllowed, BadFrame."""
    mine = secrets.token_bytes(CHALLENGE_BYTES)
    connection.send(Kind.CHALLENGE, mine)
    kind, payload = connection.receive(MOST_UNKNOWN, PATIENCE)
    if kind is not Kind.PROOF or len(payload) != CHALLENGE_BYTES + PROOF_BYTES:
        raise BadFrame("A client begins with its challenge and its proof.")
    theirs, shown = payload[:CHALLENGE_BYTES], payload[CHALLENGE_BYTES:]
    if not hmac.compare_digest(shown, proof(token, b"client", mine, theirs)):
        raise NotAllowed("The token is not the one of this server: copy the file that `edge-moe serve` names.")
    return proof(token, b"server", mine, theirs)


def welcome(connection: Connection, shown: bytes, facts: dict) -> None:
    """Tell the client about the device."""
    connection.send(Kind.WELCOME, shown + json.dumps(facts).encode())


def greet(connection: Connection, token: bytes) -> dict:
    """The client's part: the facts about the device. Raises the server's refusal, NotAllowed when it is not the server
    that it should be, BadFrame."""
    kind, theirs = connection.receive(MOST_UNKNOWN, PATIENCE)
    if kind is Kind.ERROR:
        raise error_from(theirs)
    if kind is not Kind.CHALLENGE or len(theirs) != CHALLENGE_BYTES:
        raise BadFrame("A server begins with its challenge.")
    mine = secrets.token_bytes(CHALLENGE_BYTES)
    connection.send(Kind.PROOF, mine + proof(token, b"client", theirs, mine))
    while (received := connection.receive())[0] is Kind.WORKING:
        pass  # the device is being opened, or comes to rest after its last owner
    kind, payload = received
    if kind is Kind.ERROR:
        raise error_from(payload)
    if kind is not Kind.WELCOME:
        raise BadFrame("A server answers a proof with its welcome.")
    if not hmac.compare_digest(payload[:PROOF_BYTES], proof(token, b"server", theirs, mine)):
        raise NotAllowed("The server does not know the token: it is not the one that this client was told about.")
    return _facts(payload[PROOF_BYTES:])


def _facts(text: bytes) -> dict:
    try:
        facts = json.loads(text)
        return {"name": str(facts["name"]), "clock_hz": float(facts["clock_hz"]),
                "clock_from": None if facts["clock_from"] is None else str(facts["clock_from"])}
    except (ValueError, KeyError, TypeError):
        raise BadFrame("The welcome does not tell name and clock of the device.") from None
