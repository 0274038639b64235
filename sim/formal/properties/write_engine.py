# SPDX-License-Identifier: Apache-2.0
"""Write engine: AXI rules, window, WLAST, no response without a request, no strobe in a halt, no deadlock."""

from amaranth.hdl import Mux

from golden.spec.machine import BEAT_BYTES, MAX_BURST
from golden.spec.status import Status
from hw.dma.write_engine import WriteEngine
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import address_rules, fair, goes_on, issue_rules, stays, undisturbed
from sim.formal.properties.queues import trust
from sim.formal.properties.window_guard import guard_lemma

FEW = 4
"""Bursts outstanding in these proofs; the machine has 16, of the same counters."""


def write_rules(max_burst: int = MAX_BURST) -> Harness:
    """A subordinate, data and transfers that may do anything; the window stays."""
    h = Harness()
    unit = h.add(WriteEngine(max_burst=max_burst))
    rules(h, unit.axi, "unit", max_burst)
    return h


def rules(h: Harness, axi, path: str, longest: int = MAX_BURST) -> None:
    """AXI rules of a write engine at ``path`` whose bursts may have ``longest`` beats."""
    engine = h.part(path)
    m = h.m
    h.fixed(engine.lo)
    h.fixed(engine.hi)
    guard_lemma(h, h.inside("guard", path), f"{path}.guard")
    address_rules(h, "aw", "aw", axi, engine, longest)
    stays(h, "w", axi.wvalid, axi.wready, axi.wdata, axi.wstrb, axi.wlast)
    h.claim("w_quiet_after_reset", h.later | ~axi.wvalid, alone=True)
    h.claim("bready_always", axi.bready, alone=True)
    h.claim("strobes_all_or_none", (axi.wstrb == 0) | (axi.wstrb == (1 << BEAT_BYTES) - 1) | ~axi.wvalid, alone=True)
    issue_rules(h, axi.awvalid, engine)
    halted = h.register(range(4), "halted")
    m.d.watch += halted.eq(Mux(engine.halt & h.live, Mux(halted == 3, 3, halted + (axi.wready | ~axi.wvalid)), 0))
    h.claim("no_strobe_after_two_beats_of_halt", ~axi.wvalid | (halted < 3) | (axi.wstrb == 0), alone=True)
    h.cover("zero_strobes", axi.wvalid & (axi.wstrb == 0))


def write_last() -> Harness:
    """WLAST, at the two registers before the port, which are a queue: it comes with the last beat of each burst."""
    h = Harness()
    h.add(WriteEngine(bursts=FEW))
    m, started, w = h.m, h.inside("started"), h.inside("w")
    active, left, last = h.inside("active"), h.inside("left"), h.inside("last")
    loads, beat = started.o.ready & started.o.valid, w.i.valid & w.i.ready
    h.assume(~started.o.valid | (started.o.payload != 0))
    length, count = h.register(7, "length"), h.register(7, "count")
    with m.If(loads):
        m.d.watch += [length.eq(started.o.payload), count.eq(0)]
    with m.Elif(beat):
        m.d.watch += count.eq(count + 1)
    h.lemma("counts_what_is_left", ~active | (left != 0) & (count + left == length) & (last == (left == 1)))
    h.claim("last_is_the_length", ~beat | active & (w.i.payload.last == (count + 1 == length)))
    h.claim("next_burst_after_the_last_beat", ~loads | ~active | beat & w.i.payload.last)
    h.cover("burst_ends", beat & w.i.payload.last & (length == 5))
    return h


def write_accounts() -> Harness:
    """Counts of the engine against those at the port, for any subordinate."""
    h = Harness()
    unit = h.add(WriteEngine(bursts=FEW))
    addresses, _, unasked = _accounts(h, unit)
    h.claim("unasked_response_is_a_fault", ~h.past(h.past(unasked)) | unit.fault & (
        unit.fault_code == Status.BAD_RESPONSE))
    h.claim("at_most_so_many_bursts", addresses <= FEW)
    h.claim("quiet_means_nothing_due", ~unit.quiet | ~unit.axi.awvalid & ~unit.axi.wvalid & (addresses == 0))
    h.cover("all_bursts_outstanding", addresses == FEW)
    return h


def _accounts(h: Harness, unit: WriteEngine):
    """(Bursts without a response at the port whose address it has taken, those whose last beat it has taken, whether a
    response comes unasked); lemmas that connect them with the engine's counters."""
    axi = unit.axi
    addressed, filled = h.inside("addressed"), h.inside("filled")
    addresses, bursts = h.register(4, "addresses"), h.register(4, "bursts")
    expected = (addresses != 0) & (bursts != 0)
    unasked = h.live & axi.bvalid & ~expected
    answered = h.live & axi.bvalid & expected
    # A response in the cycle of its own request would need a combinational path, which AXI forbids.
    h.assume(~(unasked & (axi.awvalid & axi.awready | axi.wvalid & axi.wready & axi.wlast)))
    h.m.d.watch += [addresses.eq(addresses + (h.live & axi.awvalid & axi.awready) - answered),
                    bursts.eq(bursts + (h.live & axi.wvalid & axi.wready & axi.wlast) - answered)]
    late = h.past(answered)
    started, issued, w, active = h.inside("started"), h.inside("issued"), h.inside("w"), h.inside("active")
    trust(h, started)
    trust(h, issued)
    held = (w.o.valid & w.o.payload.last) + (h.inside("skid_full", "unit.w") & h.inside("skid", "unit.w")[-1])
    last, left = h.inside("last"), h.inside("left")
    h.assume(~started.o.valid | (started.o.payload != 0))
    h.lemma("a_burst_has_a_last_beat", ~active | (left != 0) & (last == (left == 1)))
    h.lemma("every_burst_counts_once", (addressed + axi.awvalid == issued.level) & (
        filled + held + active + started.level == issued.level) & (issued.level <= issued.depth))
    # The engine sees a response a cycle later than the port.
    h.lemma("counts_agree", (addressed == addresses + late) & (filled == bursts + late)
            & (~h.inside("s1_valid") | (late == h.inside("asked"))) & (h.inside("s1_valid") | ~late))
    return addresses, bursts, unasked


def write_progress() -> Harness:
    """A fair subordinate without errors and data that comes: an engine with work makes a handshake in time."""
    h = Harness()
    unit = h.add(WriteEngine(bursts=FEW))
    axi = unit.axi
    addresses, bursts, unasked = _accounts(h, unit)
    undisturbed(h, unit)
    fair(h, axi.awvalid, axi.awready, "aw")
    fair(h, axi.wvalid, axi.wready, "w")
    fair(h, (addresses != 0) & (bursts != 0), axi.bvalid, "b")
    h.assume(~unasked)
    fair(h, unit.i_data.ready, unit.i_data.valid, "data")
    goes_on(h, unit, owed=(h.inside("addressed") != 0) | axi.awvalid | axi.wvalid,
            moves=axi.awvalid & axi.awready | axi.wvalid & axi.wready | axi.bvalid
            | unit.i_data.valid & unit.i_data.ready)
    return h
