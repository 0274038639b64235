# SPDX-License-Identifier: Apache-2.0
"""The lock-step comparison itself: a flipped bit is found in every kind of write, whichever bit it is."""

import copy
from collections import Counter

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.spec.isa import Dest, Opcode
from golden.spec.machine import LANES, LINE, TN
from host.driver.layout import prepare_input
from host.driver.session import Session
from sim.board.settings import DramSettings
from sim.coverage import functional, instrument
from sim.gate_trace import LOADER, LOGIT_BYTES, TILES
from sim.trace import Mismatch, Tracer

pytestmark = pytest.mark.rtl
LIMIT = 4_000_000
ROWS_OF_A_KIND = 3
"""Rows of each kind of write in which every bit is flipped in turn."""


def bits_of(tracer: Tracer, write, i: int) -> list:
    """(array, index, bit) of everything in the machine's memories that row ``i`` of ``write`` consists of."""
    memories, row, mask = tracer._memories, int(write.rows[i]), write.mask[i]
    if write.memory == "output":
        return [(memories._output, (row * LINE + j,), bit) for j in range(LINE) for bit in range(8)]
    found = [(*memories.place(write.memory, row, j), bit) for j in np.nonzero(mask)[0].tolist() for bit in range(8)]
    if write.memory == "operand":  # two bits of block exponent
        found += [(*memories.place("operand", row, LINE + half), bit) for half in range(2) if mask[half * TN]
                  for bit in range(2)]
    return found


def written_rows(write) -> np.ndarray:
    """Places in ``write.rows`` with at least one byte of the instruction."""
    return np.nonzero(write.mask.any(axis=1))[0]


def kind_of(entry, write) -> tuple:
    """Opcode, destination and memory: what has a way of its own into a memory."""
    dest = Dest(entry.fields["dst"]).name if entry.opcode is Opcode.LINEAR else ""
    return entry.opcode.name, dest, write.memory


class Flipping(Tracer):
    """Flips every bit of some rows of each kind before they are compared; without effect on the run: each is put back.

    ``tried`` counts the bits of each kind, ``missed`` names those that no comparison found.
    """

    def prepare(self) -> "Flipping":
        self.tried, self.missed, self.rng = Counter(), [], np.random.default_rng(5)
        self.rows = Counter()
        return self

    def flip(self, kind, bits, compare) -> None:
        for array, at, bit in bits:
            array[at] ^= 1 << bit
            try:
                compare()
            except Mismatch:
                pass
            else:
                self.missed.append((kind, at, bit))
            array[at] ^= 1 << bit
            self.tried[kind] += 1

    def _check(self, entry, write) -> None:
        kind = kind_of(entry, write)
        if len(write.rows) and self.rows[kind] < ROWS_OF_A_KIND:
            self.rows[kind] += 1
            compare = super()._check
            self.flip(kind, bits_of(self, write, int(self.rng.choice(written_rows(write)))),
                      lambda: compare(entry, write))
        super()._check(entry, write)

    def _pulse(self, unit: str) -> None:
        gate = self._gate
        if unit == LOADER and self.rows["logits"] < ROWS_OF_A_KIND:
            self.rows["logits"] += 1
            entry, _ = gate._tokens[0]
            slot = int(gate._loaded[0, 0]) % (len(gate._logits) // TILES)
            bits = [(gate._logits, (slot * TILES + expert // LANES, expert % LANES * LOGIT_BYTES + byte), bit)
                    for expert in range(entry.logits.shape[1]) for byte in range(LOGIT_BYTES) for bit in range(8)]
            self.flip("logits", bits, lambda: self.said("logits"))
        if unit == "gate" and self.rows["queues"] < ROWS_OF_A_KIND:
            self.rows["queues"] += 1
            entry = self._due["gate"][0]
            self.flip("queues", self.queue_bits(entry), lambda: self.said("queues", entry))
        super()._pulse(unit)

    def said(self, name: str, *arguments) -> None:
        gate = copy.copy(self._gate)
        gate._tokens = gate._tokens.copy()
        if text := getattr(gate, name)(*arguments):
            raise Mismatch(text)

    def queue_bits(self, entry) -> list:
        """Table rows, entries and links of the queues that are not empty, and the order of arrival."""
        gate, filled, bits = self._gate, self._gate._filled[id(entry)], []
        mask, width = (1 << gate._place_bits) - 1, gate._place_bits
        word = lambda array, row, count: [(array, (row, b // 8), b % 8) for b in range(count)]  # noqa: E731
        for expert, queue in enumerate(filled.queues):
            if not len(queue):
                continue
            bits += word(gate._table, expert, 2 * width + 12)
            place = int.from_bytes(gate._table[expert].tobytes(), "little") & mask
            for i in range(len(queue)):
                bits += word(gate._entries, place, 28)
                if i + 1 < len(queue):
                    bits += word(gate._links, place, width)
                    place = int.from_bytes(gate._links[place].tobytes(), "little")
        return bits + [pair for i in range(len(filled.order)) for pair in word(gate._order, i, 6)]


class FlippingOnce(Tracer):
    """Flips one bit of the first write of ``kind`` and leaves it so."""

    kind = ""

    def _check(self, entry, write) -> None:
        if write.memory == self.kind and len(write.rows):
            array, at, bit = bits_of(self, write, written_rows(write)[-1])[-1]
            array[at] ^= 1 << bit
        super()._check(entry, write)


def traced(kind, image, device, picture, task) -> Tracer:
    entries = []
    Session(image, GoldenDevice(image.machine, trace=entries.append)).frame(picture, task)
    device.free()
    session = Session(image, device, job_limit=LIMIT)
    session.start(prepare_input(picture, image.input), task)
    return kind(device.board, entries)


def test_every_bit_of_every_kind_of_write_is_compared(image, device, picture):
    tracer = traced(Flipping, image, device, picture, next(iter(image.programs))).prepare()
    tracer.run(LIMIT)
    assert device.board.interrupt and not tracer.missed, tracer.missed[:5]
    memories = {kind[2] if isinstance(kind, tuple) else kind for kind in tracer.tried}
    assert memories == {"operand", "residual", "key", "value", "output", "logits", "queues"}
    assert {"LOAD", "STORE", "NORM", "LINEAR", "ATTENTION"} <= {kind[0] for kind in tracer.tried}
    assert all(count >= 20 for count in tracer.tried.values()), tracer.tried


@pytest.mark.parametrize("memory", ["operand", "key", "output"])
def test_a_bit_that_is_not_compared_is_named(memory, image, device, picture, monkeypatch):
    """The test above can fail: a comparison that leaves one memory out is found."""
    compare = Tracer._check
    monkeypatch.setattr(Tracer, "_check", lambda self, entry, write: (
        None if write.memory == memory else compare(self, entry, write)))
    tracer = traced(Flipping, image, device, picture, next(iter(image.programs))).prepare()
    tracer.run(LIMIT)
    assert {kind[2] for kind, _, _ in tracer.missed} == {memory}


@pytest.mark.parametrize("memory", ["operand", "residual", "key", "value", "output"])
def test_a_run_ends_at_a_flipped_bit(memory, image, device, picture):
    tracer = traced(FlippingOnce, image, device, picture, next(iter(image.programs)))
    tracer.kind = memory
    with pytest.raises(Mismatch, match=f"differ in {memory}|block exponents differ"):
        tracer.run(LIMIT)
    device.board.reset()


@pytest.mark.parametrize("part", ["logits", "entries", "order"])
def test_a_run_ends_at_a_wrong_gate(part, image, device, picture):
    tracer = traced(Tracer, image, device, picture, next(iter(image.programs)))
    gate = tracer._gate
    entry = next(entry for entry in tracer.entries if entry.logits is not None)
    if part == "logits":
        entry.logits[-1, -1] += 1
    else:
        filled = next(iter(gate._filled.values()))
        first = filled.order[0]
        if part == "entries":
            filled.queues[first].weights[-1] ^= 1
        else:
            gate._filled = {key: type(filled)(value.queues, value.order[::-1]) for key, value in gate._filled.items()}
    with pytest.raises(Mismatch, match="logits of token|weight|in the order"):
        tracer.run(LIMIT)
    device.board.reset()


def test_programs_that_end_well_are_noted(image, device, picture, tmp_path, monkeypatch):
    """For functional coverage: what the last job ran, on which class of memory."""
    monkeypatch.setenv(instrument.VARIABLE, str(tmp_path))
    device.board.configure(DramSettings(latency=20, stall=0.1))
    Session(image, device, job_limit=LIMIT).frame(picture)
    device.board.configure(DramSettings(latency=20))
    found = functional.read(tmp_path)
    assert found[("END", "-", "-")] == {"stalls": 1} and found[("STORE", "RESIDUAL", "-")]["stalls"] > 0
    assert set(found) <= set(functional.wanted())
