# SPDX-License-Identifier: Apache-2.0
"""Rules of AXI4 that every master port keeps, for a subordinate that may do anything, and fair subordinates."""

from amaranth.hdl import Cat, Mux, Value
from amaranth.utils import exact_log2

from golden.spec.machine import BEAT_BYTES, PAGE
from hw.axi import ADDRESS_BITS, CACHE, INCR, PROT
from sim.formal.harness import Harness

DUE_BITS = 12
STEP = 24
"""Most cycles between two handshakes of an engine that has work: twice a guard and a splitter."""
FAIR = 2
"""Most cycles that a fair partner lets a valid payload, or a requested response, wait."""


def stays(h: Harness, name: str, valid, ready, *payload) -> None:
    """Claim that a payload offered and not taken is offered again, unchanged."""
    waited = h.past(valid & ~ready)
    same = Cat(Value.cast(value) == h.past(value) for value in payload).all()
    h.claim(f"{name}_stays", ~(h.later & waited) | valid & same, alone=True)


def waits_steadily(h: Harness, valid, ready, *payload) -> None:
    """Assume the same of a partner."""
    waited = h.past(valid & ~ready)
    h.assume(~(h.later & waited) | valid & Cat(Value.cast(value) == h.past(value) for value in payload).all())


def soon(h: Harness, condition, within: int, name: str):
    """Whether ``condition`` has been true in one of the last ``within`` cycles and the current one."""
    count = h.register(range(within + 2), name)
    with h.m.If(condition):
        h.m.d.watch += count.eq(0)
    with h.m.Elif(count <= within):
        h.m.d.watch += count.eq(count + 1)
    return condition | (count < within)


def fair(h: Harness, wanted, given, name: str, within: int = FAIR) -> None:
    """Assume that ``given`` comes in time while ``wanted``."""
    h.assume(soon(h, ~wanted | given, within, f"{name}_fair"))


def address_rules(h: Harness, name: str, prefix: str, axi, engine, longest: int) -> None:
    """Claims about an address channel of ``engine``: payload, bursts of at most ``longest`` beats, window."""
    lo, hi = engine.lo, engine.hi
    beat_bytes = getattr(engine, "beat_bytes", BEAT_BYTES)
    size = exact_log2(beat_bytes)

    def of(field):
        return getattr(axi, prefix + field)

    valid, addr = of("valid"), of("addr")
    stays(h, name, valid, of("ready"), addr, of("len"))
    h.claim(f"{name}_quiet_after_reset", h.later | ~valid, alone=True)
    h.claim(f"{name}_length", ~valid | (of("len") < longest), alone=True)
    h.claim(f"{name}_within_4096", ~valid | ((addr[size:12] + of("len")) < PAGE // beat_bytes), alone=True)
    h.claim(f"{name}_aligned", ~valid | (addr[:size] == 0), alone=True)
    h.claim(f"{name}_constants", (of("size") == size) & (of("burst") == INCR) & (of("cache") == CACHE)
            & (of("prot") == PROT), alone=True)
    # The addition has one bit more than an address, so a wrap at the top of the address space counts as outside.
    h.claim(f"{name}_in_window", ~valid | (addr >= lo) & (
        (addr + ((of("len") + 1) << size))[:ADDRESS_BITS + 1] <= hi))
    h.cover(f"{name}_longest", valid & (of("len") == longest - 1))


def issue_rules(h: Harness, valid, engine) -> None:
    """Claims about an engine's address channel: nothing new in a halt, nothing new after a fault."""
    rises = valid & ~h.past(valid)
    h.claim("nothing_issued_in_halt", ~h.later | ~rises | ~h.past(engine.halt), alone=True)
    failed = h.register(1, "failed")
    with h.m.If(h.live & engine.fault):
        h.m.d.watch += failed.eq(1)
    h.claim("nothing_issued_after_a_fault", ~h.later | ~rises | ~failed, alone=True)


def undisturbed(h: Harness, unit) -> None:
    """Assume that engine ``unit`` is not halted and meets no error; lemmas: its guards block nothing, nothing poisons
    it."""
    h.assume(~unit.fault & ~unit.halt & ~h.inside("wrong"))
    for guard in ("check", "guard"):
        h.lemma(f"{guard}_does_not_block", ~h.at("BLOCKED", f"unit.{guard}") | h.inside(guard).fault)
    h.lemma("not_poisoned", ~h.inside("poisoned"))


def goes_on(h: Harness, unit, owed, moves) -> None:
    """Claim that engine ``unit`` makes a handshake within STEP cycles while it has work: a transfer at ``i`` or inside,
    or ``owed`` at the port; ``moves``: a handshake at another port than ``i``."""
    busy = Cat(h.inside(part).busy for part in ("check", "splitter", "guard")).any() | owed
    h.claim("goes_on", soon(h, moves | unit.i.valid & unit.i.ready | ~(busy | unit.i.valid), STEP, "step"))
    h.cover("finishes", h.later & h.past(h.live & busy) & ~busy & ~unit.i.valid)


def beats_due(h: Harness, axi):
    """Beats that the subordinate still has to send, counted at the port; those that come without a request count as
    none. The second result: such a beat comes now. A response in the cycle in which its request is taken, which would
    need a combinational path through the subordinate, is forbidden by AXI and assumed not to happen."""
    due = h.register(DUE_BITS, "beats_due")
    asked, comes = h.live & axi.arvalid & axi.arready, h.live & axi.rvalid & axi.rready
    h.assume(~(asked & comes & (due == 0)))
    unasked = comes & (due == 0)
    h.m.d.watch += due.eq(due + Mux(asked, axi.arlen + 1, 0) - (comes & ~unasked))
    return due, unasked
