# SPDX-License-Identifier: Apache-2.0
"""Window guard: no item leaves the window, none inside it is refused, and each passes unchanged and in time."""

from amaranth.utils import exact_log2

from golden.spec.machine import BEAT_BYTES
from hw.axi import ADDRESS_BITS, BURST, TRANSFER
from hw.dma.window_guard import HALF, WindowGuard
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import stays


def lies_in(item, unit):
    """Whether an item is not empty, of whole beats, and inside of the window; the sum is exact, it cannot wrap."""
    end = item.addr + item.beats * unit.beat_bytes
    return (item.addr >= unit.lo) & (end <= unit.hi) & (item.beats != 0) & whole(item, unit)


def whole(item, unit):
    """Whether an item begins with a whole beat."""
    return item.addr[:exact_log2(unit.beat_bytes)] == 0


def guard_lemma(h: Harness, unit, path: str) -> None:
    """What each state of a guard says about the item inside."""
    def inner(name):
        return h.inside(name, path)

    def after(*states):
        found = h.at(states[0], path)
        for state in states[1:]:
            found |= h.at(state, path)
        return found

    item, end_low, end_high = unit.o.payload, inner("end_low"), inner("end_high")
    addr_low, addr_high = item.addr[:HALF], item.addr[HALF:]
    end = h.named(item.addr + item.beats * unit.beat_bytes, "end")
    low_known = ~after("END_HIGH", "COMPARE", "CHECK") | (end_low == addr_low + item.beats * unit.beat_bytes)
    high_known = ~after("COMPARE", "CHECK") | (end_high == addr_high + end_low[HALF])
    h.lemma(f"{path}_end", low_known & high_known & (~after("COMPARE", "CHECK") | (
        (end_high == end[HALF:]) & (end_low[:HALF] == end[:HALF]))))
    compared = ((inner("lo_above") == (addr_high > unit.lo[HALF:]))
                & (inner("lo_equal") == (addr_high == unit.lo[HALF:]))
                & (inner("lo_low") == (addr_low >= unit.lo[:HALF]))
                & (inner("hi_above") == (end[HALF:2 * HALF] < unit.hi[HALF:]))
                & (inner("hi_equal") == (end[HALF:2 * HALF] == unit.hi[HALF:]))
                & (inner("hi_low") == (end[:HALF] <= unit.hi[:HALF]))
                & (inner("legal") == (~end[2 * HALF] & (item.beats != 0) & whole(item, unit))))
    h.lemma(f"{path}_compared", ~after("CHECK") | compared)
    h.lemma(f"{path}_sends_what_is_inside", ~after("SEND") | lies_in(item, unit))


def window_guard(shape=BURST, beat_bytes: int = BEAT_BYTES) -> Harness:
    """Any item, any window that stays while an item is inside."""
    h = Harness()
    unit = h.add(WindowGuard(shape, beat_bytes=beat_bytes))
    m, item = h.m, h.register(shape, "item")
    taken = unit.i.valid & unit.i.ready
    inside, refused = h.register(1, "inside"), h.register(1, "refused")
    with m.If(h.live & taken):
        m.d.watch += [item.eq(unit.i.payload), inside.eq(1)]
    with m.Elif(unit.o.valid & unit.o.ready):
        m.d.watch += inside.eq(0)
    with m.If(h.live & unit.fault):
        m.d.watch += refused.eq(1)
    h.assume(~h.later | ~inside | ((unit.lo == h.past(unit.lo)) & (unit.hi == h.past(unit.hi))))
    h.lemma("keeps_the_item", ~inside | (unit.o.payload == item))
    h.lemma("knows_that_it_is_busy", inside == unit.busy)
    guard_lemma(h, unit, "unit")
    stays(h, "o", unit.o.valid, unit.o.ready, unit.o.payload)
    legal = lies_in(item, unit)
    h.claim("passes_only_what_is_inside", ~unit.o.valid | legal & (unit.o.payload == item) & inside)
    h.claim("refuses_only_what_is_outside", ~unit.fault | ~legal & (unit.fault_addr == item.addr))
    h.claim("blocks_after_a_refusal", ~refused | ~unit.o.valid & ~unit.i.ready & ~unit.fault)
    waited = h.register(range(WindowGuard.LATENCY + 2), "waited")
    with m.If(~inside | unit.o.valid | unit.fault | refused):
        m.d.watch += waited.eq(0)
    with m.Elif(waited <= WindowGuard.LATENCY):
        m.d.watch += waited.eq(waited + 1)
    h.claim("decides_in_time", waited < WindowGuard.LATENCY)
    h.cover("refuses_a_wrap", unit.fault & (item.addr[-1] == 1) & (item.beats != 0) & whole(item, unit)
            & (unit.hi == (1 << ADDRESS_BITS) - 1) & (unit.lo == 0))
    h.cover("passes_the_last_byte", unit.o.valid & (item.addr + item.beats * unit.beat_bytes == unit.hi)
            & (item.addr == unit.lo))
    return h


def transfer_guard() -> Harness:
    """The same for transfers of any length."""
    return window_guard(TRANSFER)


def wide_guard() -> Harness:
    """The same for bursts of beats of 32 bytes."""
    return window_guard(beat_bytes=32)
