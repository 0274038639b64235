# SPDX-License-Identifier: Apache-2.0
"""Burst splitter: the bursts of a transfer are legal, follow each other and are the whole transfer."""

from amaranth.hdl import Mux

from golden.spec.machine import BEAT_BYTES, MAX_BURST
from hw.axi import ADDRESS_BITS, BEATS_BITS
from hw.dma.splitter import BurstSplitter
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import stays


def splitter_lemma(h: Harness, engine: str) -> None:
    """Between the two guards of an engine, bursts have at least one beat and no more than they may."""
    check, guard = h.inside("check", engine), h.inside("guard", engine)
    h.lemma("transfers_have_beats", ~(h.at("CHECK", f"{engine}.check") & h.inside("legal", f"{engine}.check")
                                      | h.at("SEND", f"{engine}.check")) | (check.o.payload.beats != 0))
    _bursts(h, f"{engine}.splitter")
    held = guard.o.payload.beats
    h.lemma("guard_holds_a_burst", ~guard.busy | (held != 0) & (held <= h.part(engine).max_burst))


def _bursts(h: Harness, path: str) -> None:
    beats, left, last = (h.inside(name, path) for name in ("beats", "left", "last"))
    longest = h.part(path).max_burst
    h.lemma("splitter_makes_bursts", (h.at("ACCEPT", path) | (left != 0)) & (~h.at("SEND", path) | (
        (beats != 0) & (beats <= longest) & Mux(last, left == beats, left > beats))))


def splitter(beat_bytes: int = BEAT_BYTES, max_burst: int = MAX_BURST) -> Harness:
    """Any legal transfer: whole beats, at least one, no wrap."""
    h = Harness()
    unit = h.add(BurstSplitter(beat_bytes=beat_bytes, max_burst=max_burst))
    size, span = unit.size, unit.span
    m, offered, out = h.m, unit.i.payload, unit.o
    h.assume(~unit.i.valid | (offered.addr[:size] == 0) & (offered.beats != 0)
             & (offered.addr + offered.beats * beat_bytes < 1 << ADDRESS_BITS))
    at, left = h.register(ADDRESS_BITS, "at"), h.register(BEATS_BITS, "left")
    with m.If(h.live & unit.i.valid & unit.i.ready):
        m.d.watch += [at.eq(offered.addr), left.eq(offered.beats)]
    with m.Elif(h.live & out.valid & out.ready):
        m.d.watch += [at.eq(at + out.payload.beats * beat_bytes), left.eq(left - out.payload.beats)]
    half = ADDRESS_BITS // 2
    addr, carry = h.inside("addr"), h.inside("carry")
    h.lemma("counts_what_is_left", (left == Mux(unit.busy, h.inside("left"), 0)))
    _bursts(h, "unit")
    room = max_burst - addr[size:span]
    h.lemma("beats_that_fit", ~h.at("SEND") | (h.inside("beats") == Mux(h.inside("last"), left, room)) & (
        h.inside("beats") <= room))
    h.lemma("no_wrap", (at[:size] == 0) & (at + left * beat_bytes < 1 << ADDRESS_BITS))
    advance = ((at >> span) == (addr >> span) + 1) & (at[:span] == 0) & ~carry
    h.lemma("address_of_the_next_burst", h.at("ACCEPT") & ~carry | Mux(h.at("ADVANCE"), advance, (
        (addr + (carry << half) == at) & (~carry | h.at("MEASURE")) & (addr[:half] == at[:half]))))
    stays(h, "o", out.valid, out.ready, out.payload)
    h.claim("bursts_follow_each_other", ~out.valid | (out.payload.addr == at))
    h.claim("length", ~out.valid | (out.payload.beats != 0) & (out.payload.beats <= max_burst))
    h.claim("never_beyond_the_transfer", ~out.valid | (out.payload.beats <= left))
    h.claim("all_of_the_transfer", unit.busy | (left == 0))
    h.claim("never_across_a_multiple", ~out.valid | (
        (out.payload.addr[size:span] + out.payload.beats) <= max_burst))
    h.claim("as_long_as_possible", ~out.valid | (out.payload.beats == left) | (
        (out.payload.addr[size:span] + out.payload.beats) == max_burst))
    h.cover("carry", h.at("MEASURE") & carry)
    return h
