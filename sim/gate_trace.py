# SPDX-License-Identifier: Apache-2.0
"""Gate of a traced run: the logits that it was given, and the expert queues that it filled, against golden's."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from golden.iss.trace import Entry
from golden.spec.isa import Opcode
from golden.spec.machine import LANES, MAX_EXPERTS
from golden.spec.tables import GATE_RADIX_LOG2
from sim.board import Board

LOADER, QUEUES = "gate.loader", "gate.queues"
LOGIT_BYTES = (32 + GATE_RADIX_LOG2 + 1) // 8
TILES = MAX_EXPERTS // LANES
"""Rows of 16 logits that the gate keeps of each token."""
TOKEN_BITS = 12
WEIGHT_BITS = 16


@dataclass(frozen=True)
class Filled:
    """What golden's queues hold after a GATE: ``queues`` by expert, ``order`` of their first entries."""

    queues: tuple
    order: tuple[int, ...]


class GateTrace:
    """Logits token by token, as they are written, and all queues when a GATE is over; ``entries`` is golden's trace.

    Both return what differs, in words, and nothing where nothing does.
    """

    def __init__(self, board: Board, entries: list[Entry]):
        self._logits = board.memory(LOADER, "logits")
        self._loaded = board.memory(LOADER, "loaded")
        self._table, self._entries, self._links, self._order = (
            board.memory(QUEUES, name) for name in ("table", "entries", "links", "order"))
        self._place_bits = (board.config.queue_depth - 1).bit_length()
        self._tokens: deque[tuple[Entry, int]] = deque()
        self._filled: dict[int, Filled] = {}
        gate = None
        for entry in entries:
            if entry.opcode is Opcode.GATE:
                gate = entry
            if entry.logits is not None:
                self._tokens.extend((entry, token) for token in range(len(entry.logits)))
                self._filled[id(gate)] = Filled(entry.queues or (), entry.order)

    @property
    def left(self) -> int:
        """Tokens whose logits are still to come."""
        return len(self._tokens)

    def logits(self) -> str:
        """The token that was written last, before the gate counts it."""
        if not self._tokens:
            return "the gate was given the logits of one token more than golden's was"
        entry, token = self._tokens.popleft()
        slot = _number(self._loaded[0]) % (len(self._logits) // TILES)
        raw = self._logits[slot * TILES:(slot + 1) * TILES, :LANES * LOGIT_BYTES].reshape(-1, LOGIT_BYTES)
        wide = np.zeros((len(raw), 8), np.uint8)
        wide[:, :LOGIT_BYTES] = raw
        wide[:, LOGIT_BYTES:] = np.where(raw[:, -1:] & 0x80, 0xFF, 0)
        expected = entry.logits[token]
        came = wide.view("<i8").reshape(-1)[:len(expected)]
        wrong = np.nonzero(came != expected)[0]
        if not len(wrong):
            return ""
        expert = int(wrong[0])
        return (f"instruction {entry.index} (LINEAR into the gate): {len(wrong)} of {len(expected)} logits of token "
                f"{token} differ; first of expert {expert}: golden {int(expected[expert])}, "
                f"machine {int(came[expert])}.")

    def queues(self, gate: Entry) -> str:
        """All queues after ``gate``, entry by entry along their links, and the order of their first entries."""
        filled = self._filled.get(id(gate))
        if filled is None:
            return ""
        where = f"instruction {gate.index} (GATE)"
        order = tuple(_number(self._order[i]) for i in range(len(filled.order)))
        if order != filled.order:
            return f"{where}: the queues got their first entries in the order {order}, golden's in {filled.order}."
        for expert, queue in enumerate(filled.queues):
            if len(queue) and (said := self._queue(expert, queue)):
                return f"{where}: {said}"
        return ""

    def _queue(self, expert: int, queue) -> str:
        bits = self._place_bits
        row = _number(self._table[expert])
        place, tail, count = row & (1 << bits) - 1, row >> bits & (1 << bits) - 1, row >> 2 * bits
        if count != len(queue):
            return f"the queue of expert {expert} has {count} entries, golden's {len(queue)}."
        for i, (token, weight) in enumerate(zip(queue.tokens.tolist(), queue.weights.tolist(), strict=True)):
            found = _number(self._entries[place])
            came = found & (1 << TOKEN_BITS) - 1, found >> TOKEN_BITS
            if came != (token, weight):
                return (f"entry {i} of the queue of expert {expert} is token {came[0]} with weight {came[1]}, golden's "
                        f"token {token} with weight {weight}.")
            place = _number(self._links[place]) if i + 1 < count else place
        return "" if place == tail else f"the queue of expert {expert} ends at place {place}, its tail is {tail}."


def _number(word: np.ndarray) -> int:
    return int.from_bytes(word.tobytes(), "little")
