# SPDX-License-Identifier: Apache-2.0
"""A Tcl interpreter whose vendor commands are Python functions: unknown commands and options are errors."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.hw.platform.stand_ins.interpreters import TclError, interpreters


class Refused(Exception):
    """What a stand-in refuses; the script sees it as a Tcl error."""


@dataclass
class Call:
    """One call of a command: its switches, its options with values, what is left."""

    flags: set[str] = field(default_factory=set)
    options: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)

    def one(self) -> str:
        """The only argument."""
        if len(self.rest) != 1:
            raise Refused(f"wanted is one argument, not {self.rest}")
        return self.rest[0]


class Interpreter:
    """``define`` gives a command; ``run`` sources a file. ``said`` is what the script put on its standard output."""

    def __init__(self, kind: type | None = None):
        self.tcl = (kind or interpreters()[0])()
        self.said: list[str] = []
        self.broken: Exception | None = None
        for name in ("exec", "auto_execok", "puts"):
            self.tcl.eval(f"if {{[info commands original_{name}] eq {{}}}} {{ rename {name} original_{name} }}")
        self.tcl.create("record_line", self.said.append)
        self.tcl.eval("proc puts {args} { if {[llength $args] == 1} { record_line [lindex $args 0] } else "
                      "{ original_puts {*}$args } }")

    def define(self, name: str, function: Callable, flags: str = "", options: str = "") -> None:
        """Let ``name`` call ``function`` with a :class:`Call`; ``flags`` and ``options`` are those that it takes."""
        known_flags, known_options = set(flags.split()), set(options.split())

        def called(*words):
            try:
                return 1, self._value(function(self._parsed(words, known_flags, known_options)))
            except Refused as refused:
                return 0, f"{name}: {refused}"
            except Exception as error:  # a defect of the stand-in, not of the script
                self.broken = error
                return 0, f"{name}: {error!r}"

        inner = "py_" + name.replace(":", "_").replace("+", "p")
        self.tcl.create(inner, called)
        if "::" in name:
            self.tcl.eval(f"namespace eval {name.rsplit('::', 1)[0]} {{}}")
        self.tcl.eval(f"proc {name} {{args}} {{ lassign [::{inner} {{*}}$args] good value; "
                      "if {!$good} { error $value }; return $value }")

    def run(self, path) -> None:
        """Source a file. Raises :class:`Refused` with the message of its error, and what a stand-in failed with."""
        try:
            self.tcl.eval(f"source {{{path}}}")
        except TclError as error:
            raise (self.broken or Refused(str(error))) from None

    def words(self, text: str) -> list[str]:
        """The elements of a Tcl list."""
        return self.tcl.words(text)

    @staticmethod
    def _value(value):
        return "" if value is None else tuple(value) if isinstance(value, list) else value

    @staticmethod
    def _parsed(words, flags: set[str], options: set[str]) -> Call:
        call, queue = Call(), [str(word) for word in words]
        while queue:
            word = queue.pop(0)
            if word in flags:
                call.flags.add(word)
            elif word in options:
                if not queue:
                    raise Refused(f"option {word} has no value")
                call.options[word] = queue.pop(0)
            elif word.startswith("-") and not word[1:2].isdigit():
                raise Refused(f"unknown option {word}")
            else:
                call.rest.append(word)
        return call
