# SPDX-License-Identifier: Apache-2.0
"""Queue: nothing is lost, doubled or reordered, at any depth that the machine uses; and what proofs assume of one."""

from amaranth.hdl import Mux

from hw.lib.queue import Queue
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import stays

WIDTH = 2
"""Bits of a payload in the proofs: a queue does not look at it, so the width plays no part."""


def queue(depth: int) -> Harness:
    """One payload, which may be any, is followed from its arrival to its departure by the number of those before it."""
    h = Harness()
    unit = h.add(Queue(WIDTH, depth))
    m, pick = h.m, h.free(1, "pick")
    push, pop = h.live & unit.i.valid & unit.i.ready, h.live & unit.o.valid & unit.o.ready
    followed, payload = h.register(1, "followed"), h.register(WIDTH, "payload")
    before = h.register(range(depth + 1), "before")
    picked = h.register(1, "picked")
    count = h.register(range(depth + 2), "count")
    m.d.watch += count.eq(count + push - pop)
    with m.If(push & pick & ~picked):
        m.d.watch += [followed.eq(1), picked.eq(1), before.eq(count - pop), payload.eq(unit.i.payload)]
    with m.Elif(followed & pop):
        m.d.watch += [before.eq(Mux(before == 0, 0, before - 1)), followed.eq(before != 0)]
    h.lemma("level_is_the_count", (unit.level == count) & (count <= depth))
    h.claim("ready_when_not_full", unit.i.ready == (count < depth))
    h.claim("valid_only_when_not_empty", ~unit.o.valid | (count != 0))
    h.claim("valid_in_time", unit.o.valid | (count <= (h.past(push) if unit.LATENCY > 1 else 0)))
    h.claim("order_and_payload", ~(followed & (before == 0) & unit.o.valid) | (unit.o.payload == payload))
    h.claim("one_before_is_one_inside", ~followed | (before < count))
    stays(h, "o", unit.o.valid, unit.o.ready, unit.o.payload)
    h.cover("full", count == depth)
    h.cover("followed_leaves", followed & (before == 0) & pop)
    return h


def trust(h: Harness, unit: Queue) -> None:
    """Assume of a queue inside of a larger proof what :func:`queue` claims, except its payloads."""
    h.assume(unit.i.ready == (unit.level < unit.depth))
    h.assume(~unit.o.valid | (unit.level != 0))
    pushed = h.past(unit.i.valid & unit.i.ready)
    h.assume(unit.o.valid | (unit.level <= (pushed if unit.LATENCY > 1 else 0)))
