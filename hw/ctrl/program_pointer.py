# SPDX-License-Identifier: Apache-2.0
"""Program pointer: the index of the next instruction, in sequence and around the body of an EXPERTS."""

from amaranth.hdl import Module, Signal

READ_CYCLES = 2
"""Cycles from a program index to its instruction."""


class ProgramPointer:
    """Program pointer of the module ``m``: moves ``index``, and remembers the body that EXPERTS repeats.

    A method is what the pointer does in the cycle in which the conditions around the call hold; ``in_body`` and
    ``at_body_end`` refer to the current instruction.
    """

    def __init__(self, m: Module, index: Signal, *, first: int):
        self.m, self.index, self.first = m, index, first
        self.in_body = Signal(name="in_body")
        self._body, self._left = Signal(4, name="body"), Signal(4, name="body_left")
        self._body_index = Signal.like(index, name="body_index")

    @property
    def at_body_end(self):
        return self.in_body & (self._left == 1)

    def restart(self) -> None:
        """To the program's ``first`` instruction."""
        self.m.d.sync += [self.index.eq(self.first), self.in_body.eq(0)]

    def advance(self) -> None:
        """To the instruction that follows in memory."""
        self.m.d.sync += [self.index.eq(self.index + 1), self._left.eq(self._left - 1)]

    def note_body(self, length) -> None:
        """The current instruction is EXPERTS; the ``length`` after it are its body."""
        self.m.d.sync += [self._body.eq(length), self._body_index.eq(self.index + 1)]

    def enter_body(self) -> None:
        """To the body's first instruction."""
        self.m.d.sync += [self.in_body.eq(1), self._left.eq(self._body), self.index.eq(self._body_index)]

    def leave_body(self) -> None:
        """To the instruction after the body."""
        self.m.d.sync += [self.in_body.eq(0), self.index.eq(self._body_index + self._body)]
