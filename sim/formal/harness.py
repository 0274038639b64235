# SPDX-License-Identifier: Apache-2.0
"""Harness of a proof: one unit with free inputs, what is assumed of them, and what is claimed of its outputs."""

import re
import sys

from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Elaboratable, Fragment, Module, ResetSignal, Signal, Value
from amaranth.lib.wiring import In

TOP = "top"


class Harness:
    """A unit under proof, and the claims about it.

    ::

        free inputs -> [ unit, reset in cycle 0 ] -> claims, covers
                  \\--> [ monitor registers ] <--/

    All registers and memories of the unit begin with arbitrary values; cycle 0 resets it. Every input that the harness
    does not drive is free in each cycle. A claim must hold in every cycle after the reset in which all assumptions hold
    and have always held. Monitor registers, in domain ``watch``, begin with their initial values, and their logic
    stands in ``m``. Signals inside of the unit are found by name (:meth:`inside`).

    A lemma is a claim that all later lemmas and all claims assume, so they are proved with its help.
    A claim is an output, not an ``Assert``, because each is proved, timed and listed alone.
    """

    def __init__(self):
        m = self.m = Module()
        self.claims: dict[str, Value] = {}
        self.covers: dict[str, Value] = {}
        self._alone: dict[str, Value] = {}
        self.lemmas: dict[str, Value] = {}
        self._assumed, self._inputs, self._count = [], [], 0
        self._units, self._fragments, self._locals = {}, {}, {}
        self._clock = Signal(name="clk")
        self.live = Signal()
        """A cycle after the reset."""
        self.later = Signal()
        """A cycle after the reset, and so was the one before."""
        m.domains += [ClockDomain("sync"), ClockDomain("watch", reset_less=True)]
        m.d.comb += [ClockSignal("sync").eq(self._clock), ClockSignal("watch").eq(self._clock),
                     ResetSignal("sync").eq(~self.live)]
        m.d.watch += [self.live.eq(1), self.later.eq(self.live)]

    def add(self, unit, name: str = "unit", driven: tuple[str, ...] = ()):
        """``unit`` as a part of the harness. Its inputs are free, except those that begin with one of ``driven``."""
        fragment, self._locals[name] = _elaborated(unit)
        self._units[name], self._fragments[name] = unit, fragment
        self.m.submodules[name] = _AsElaboratable(fragment)
        for path, member, value in unit.signature.flatten(unit):
            port = "__".join(str(part) for part in path)
            if member.flow == In and not port.startswith(driven):
                self._inputs.append(Value.cast(value))
        return unit

    def part(self, path: str):
        """What is called by the last name of ``path`` in the source of the part before it."""
        unit, *names = path.split(".")
        part = self._units[unit]
        for name in names:
            values = self._locals[unit].get(id(part), {})
            if name not in values:
                raise KeyError(f"{path} has no {name!r}; it has {', '.join(sorted(values))}.")
            part = values[name]
        return part

    def inside(self, name: str, path: str = "unit"):
        """The value called ``name`` in the source of the part at ``path``, names joined by dots."""
        return self.part(f"{path}.{name}")

    def signal(self, name: str, path: str = "unit") -> Signal:
        """The signal with this name in the netlist of the part at ``path``."""
        unit, *parts = path.split(".")
        fragment = self._fragments[unit]
        for part in parts:
            fragment = next(f for f, name, _ in fragment.subfragments if name == part)
        return next(s for statements in fragment.statements.values() for s in statements._lhs_signals()
                    if s.name == name)

    def at(self, state: str, path: str = "unit", fsm: str = "fsm_state") -> Value:
        """Whether the state machine of the part at ``path`` is in ``state``."""
        signal = self.signal(fsm, path)
        return signal == next(n for n in range(1 << signal.width) if signal.decoder(n) == f"{state}/{n}")

    def free(self, shape, name: str) -> Signal:
        """An input that may have any value in each cycle."""
        self._inputs.append(signal := Signal(shape, name=name))
        return signal

    def fixed(self, value) -> None:
        """Assume that ``value`` never changes after the reset."""
        self.assume(~self.later | (value == self.past(value)))

    def register(self, shape, name: str, init: int | None = None) -> Signal:
        """A register of the monitor; the caller assigns it in domain ``watch``."""
        self._count += 1
        return Signal(shape, name=f"watch{self._count}_{name}", init=init)

    def past(self, value) -> Signal:
        """``value`` in the cycle before; 0 in cycle 0."""
        value = Value.cast(value)
        register = self.register(value.shape(), "past")
        self.m.d.watch += register.eq(value)
        return register

    def named(self, value, name: str) -> Signal:
        """A signal that always equals ``value``."""
        signal = self.register(Value.cast(value).shape(), name)
        self.m.d.comb += signal.eq(value)
        return signal

    def assume(self, condition) -> None:
        """Cycles from the first in which ``condition`` is false on are of no interest."""
        self._assumed.append(Value.cast(condition).bool())

    def claim(self, name: str, condition, *, alone: bool = False) -> None:
        """``condition`` holds in every cycle; ``alone``: whatever the lemmas say, which is quicker where none helps."""
        (self._alone if alone else self.claims)[name] = Value.cast(condition).bool()

    def lemma(self, name: str, condition) -> None:
        """A claim that makes others easier: it is proved with the lemmas before it only; all others assume it."""
        self.lemmas[name] = Value.cast(condition).bool()

    def cover(self, name: str, condition) -> None:
        """``condition`` holds in some cycle of some run: shows that the assumptions leave it possible."""
        self.covers[name] = Value.cast(condition).bool()

    def helpers(self, claim: str) -> list[str]:
        """The lemmas that ``claim``, which may be one itself, assumes."""
        if claim in self._alone:
            return []
        names = list(self.lemmas)
        return names[:names.index(claim)] if claim in self.lemmas else names

    def rtlil(self, *, help_: bool = True) -> str:
        """RTLIL of the harness; an output ``bad_NAME`` is 1 where a claim fails, ``cover_NAME`` where a cover holds.
        Without ``help_`` nothing assumes a lemma: a defect that breaks one would make all that assume it true."""
        assumed, outputs = list(self._assumed), []
        groups = [({f"cover_{name}": held for name, held in self.covers.items()}
                   | {f"bad_{name}": ~held for name, held in self._alone.items()}, None),
                  *(({f"bad_{name}": ~held}, held) for name, held in self.lemmas.items()),
                  ({f"bad_{name}": ~held for name, held in self.claims.items()}, None)]
        for number, (table, lemma) in enumerate(groups):
            now = self.named(Cat(assumed).all() if assumed else 1, f"assumed{number}")
            broken = self.register(1, f"broken{number}")
            with self.m.If(self.live & ~now):
                self.m.d.watch += broken.eq(1)
            for name, wanted in table.items():
                outputs.append(signal := Signal(name=name))
                self.m.d.comb += signal.eq(self.live & now & ~broken & wanted)
            if lemma is not None and help_:
                assumed.append(lemma)
        ports = [self._clock, *self._inputs, *outputs]
        return arbitrary_start(rtlil.convert(self.m, name=TOP, ports=ports, emit_src=False))


class _AsElaboratable(Elaboratable):
    """A fragment that stands for the unit it was made from."""

    def __init__(self, fragment):
        self.fragment = fragment

    def elaborate(self, platform):
        return self.fragment


def _elaborated(unit) -> tuple[Fragment, dict[int, dict]]:
    """(The unit as a fragment, the local values of its methods and those of its parts, by the part's ``id``.) Registers
    of a unit are local to ``elaborate`` and have no other name in Python."""
    found: dict[int, dict] = {}

    def keep(frame, event, result):
        if event == "return" and "self" in frame.f_locals and "m" in frame.f_locals:
            found.setdefault(id(frame.f_locals["self"]), {}).update(frame.f_locals)

    sys.setprofile(keep)
    try:
        return Fragment.get(unit, None), found
    finally:
        sys.setprofile(None)


_INIT = re.compile(r"^ *attribute \\init .*\n", re.MULTILINE)
_ZERO_MEMORY = re.compile(r"^ *cell \$meminit_v2 .*\n(?:(?! *end$).*\n)*? *connect \\DATA \d+'0+\n"
                          r"(?:(?! *end$).*\n)* *end\n", re.MULTILINE)


def arbitrary_start(text: str, *, everywhere: bool = False) -> str:
    """RTLIL in which registers and memories of all modules below the top (``everywhere``: and of the top) begin with no
    particular value; a memory whose contents are not all 0 is a table and keeps them."""
    modules = re.split(r"(?m)^(?=(?:attribute .*\n)*module )", text)
    return "".join(part if not everywhere and f"module \\{TOP}\n" in part else _ZERO_MEMORY.sub("", _INIT.sub("", part))
                   for part in modules)
