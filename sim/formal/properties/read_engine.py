# SPDX-License-Identifier: Apache-2.0
"""Read engine: AXI rules, window, no response without a request, no beat lost, no deadlock."""

from amaranth.hdl import Cat, Mux

from golden.spec.machine import BEAT_BYTES, MAX_BURST
from golden.spec.status import Status
from hw.dma.read_engine import ReadEngine
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import address_rules, beats_due, fair, goes_on, issue_rules, undisturbed
from sim.formal.properties.queues import trust
from sim.formal.properties.splitter import splitter_lemma
from sim.formal.properties.window_guard import guard_lemma

FEW = 4
"""Bursts outstanding in the proof of the accounts; the machine has 16, of the same queue."""
SHALLOW = 128
"""Beats in the data queue in that proof; the machine has 512."""


def read_rules(beat_bytes: int = BEAT_BYTES, max_burst: int = MAX_BURST) -> Harness:
    """A subordinate and transfers that may do anything; the window stays."""
    h = Harness()
    unit = h.add(ReadEngine(beat_bytes=beat_bytes, max_burst=max_burst))
    rules(h, unit.axi, "unit", max_burst)
    return h


def rules(h: Harness, axi, path: str, longest: int = MAX_BURST) -> None:
    """AXI rules of a read engine at ``path`` whose bursts may have ``longest`` beats."""
    engine = h.part(path)
    h.fixed(engine.lo)
    h.fixed(engine.hi)
    guard_lemma(h, h.inside("guard", path), f"{path}.guard")
    address_rules(h, "ar", "ar", axi, engine, longest)
    h.claim("rready_always", axi.rready, alone=True)
    _, unasked = beats_due(h, axi)
    h.cover("unasked", unasked)
    issue_rules(h, axi.arvalid, engine)


def read_accounts() -> Harness:
    """The engine's counts against those at the port, for any subordinate. The queue of bursts is replaced by a list of
    lengths, which is what :mod:`queues` proves of it."""
    h = Harness()
    unit = h.add(ReadEngine(depth=SHALLOW, bursts=FEW))
    due, unasked, waiting = _accounts(h, unit)
    taken, data, arvalid = h.inside("taken"), h.inside("queue"), unit.axi.arvalid
    h.claim("at_most_so_many_bursts", taken + arvalid <= FEW)
    h.claim("quiet_means_nothing_due", ~unit.quiet | (due == 0) & ~arvalid)
    h.claim("unasked_beat_is_a_fault", ~h.past(h.past(unasked)) | unit.fault
            & (unit.fault_code == Status.BAD_RESPONSE))
    h.lemma("space_is_free", (h.inside("space") + data.level + waiting <= unit.depth) & (
        ~(h.at("SEND", "unit.guard") & h.inside("enough")) | (h.inside("space") >= MAX_BURST)))
    h.claim("no_beat_is_lost", ~data.i.valid | data.i.ready)
    h.cover("all_bursts_outstanding", (taken == FEW) & ~arvalid)
    return h


def _accounts(h: Harness, unit: ReadEngine):
    """(Beats due at the port, whether one comes unasked, beats that the engine waits for); lemmas that connect them
    with the engine's counters."""
    m, axi = h.m, unit.axi
    issued, current = h.inside("issued"), h.inside("current")
    taken, arvalid, valid = h.inside("taken"), axi.arvalid, h.inside("current_valid")
    trust(h, issued)
    trust(h, h.inside("queue"))

    lengths = [h.register(7, f"length{n}") for n in range(issued.depth)]
    level, put, got = issued.level, h.inside("take"), issued.o.valid & issued.o.ready
    for n, length in enumerate(lengths):
        following = lengths[n + 1] if n + 1 < len(lengths) else length
        with m.If(put & (level - got == n)):
            m.d.watch += length.eq(issued.i.payload.beats)
        with m.Elif(got):
            m.d.watch += length.eq(following)
    h.assume(~issued.o.valid | (issued.o.payload.beats == lengths[0]))

    due, unasked = beats_due(h, axi)
    counted = h.past(axi.rvalid & ~unasked & h.live)
    waiting = h.named(sum((Mux(level > n, length, 0) for n, length in enumerate(lengths)),
                          Mux(valid, current.beats, 0)), "beats_waiting")
    offered = h.named(Mux(arvalid, axi.arlen + 1, 0), "beats_offered")
    newest = h.named(current.beats, "newest")
    for n, length in enumerate(lengths):
        newest = h.named(Mux(level > n, length, newest), "newest")
    sane = Cat((level <= n) | (length != 0) & (length <= MAX_BURST) for n, length in enumerate(lengths)).all()
    splitter_lemma(h, "unit")
    h.lemma("bursts_have_1_to_64_beats", sane & (~valid | (current.beats != 0) & (current.beats <= MAX_BURST)))
    h.lemma("every_burst_counts_once", (level + valid == taken + arvalid) & (~arvalid | (newest == axi.arlen + 1)))
    recent = h.past(put), h.past(h.past(put))
    h.lemma("bursts_come_apart", ~recent[0] | ~put & ~recent[1] & ~h.at("SEND", "unit.guard"))
    h.lemma("oldest_burst_is_at_hand", valid | (level == 0) | (level == 1) & (recent[0] | recent[1]))
    h.lemma("every_beat_counts_once", (waiting == due + offered + counted) & (
        counted == (h.inside("s1_valid") & h.inside("asked"))))
    return due, unasked, waiting


def read_progress() -> Harness:
    """A fair subordinate without errors and a consumer that goes on: an engine with work makes a handshake in time."""
    h = Harness()
    unit = h.add(ReadEngine(depth=SHALLOW, bursts=FEW))
    axi = unit.axi
    due, unasked, waiting = _accounts(h, unit)
    data = h.inside("queue")
    undisturbed(h, unit)
    fair(h, axi.arvalid, axi.arready, "ar")
    fair(h, due != 0, axi.rvalid, "r")
    h.assume(~unasked)
    fair(h, unit.o.valid, unit.o.ready, "o")
    h.lemma("all_space_is_accounted_for", h.inside("space") + data.level + waiting == unit.depth)
    goes_on(h, unit, owed=(h.inside("taken") != 0) | axi.arvalid,
            moves=axi.arvalid & axi.arready | axi.rvalid | unit.o.valid & unit.o.ready)
    return h
