# SPDX-License-Identifier: Apache-2.0
"""The Tcl interpreters that there may be: Python's own (tkinter), or the program tclsh, spoken to through pipes."""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable

SERVER = """
fconfigure stdin -translation lf
fconfigure stdout -translation lf
proc coded {text} {
    if {$text eq ""} { return - }
    return [binary encode hex [encoding convertto utf-8 $text]]
}
proc decoded {text} {
    if {$text eq "-"} { return "" }
    return [encoding convertfrom utf-8 [binary decode hex $text]]
}
proc tell {args} {
    set words [list]
    foreach word $args { lappend words [coded $word] }
    original_puts [join $words " "]
    flush stdout
}
proc serve {} {
    while {[gets stdin line] >= 0} {
        set message [list]
        foreach word [split $line " "] { lappend message [decoded $word] }
        switch [lindex $message 0] {
            value { return [lindex $message 1] }
            list { return [lrange $message 1 end] }
            words {
                set text [lindex $message 1]
                if {[catch {llength $text} said]} { tell failed $said } else { tell done {*}$text }
            }
            eval { if {[catch {uplevel #0 [lindex $message 1]} said]} { tell failed $said } else { tell done $said } }
        }
    }
    exit
}
proc python {name args} { tell call $name {*}$args; return [serve] }
rename puts original_puts
proc puts {args} { original_puts {*}$args }
serve
"""


SPECIAL = " \t\"{}[]$;\\"
"""Marks that have a meaning in a Tcl list."""


class TclError(Exception):
    """An error of a script, with its message."""


class InProcess:
    """tkinter's interpreter."""

    def __init__(self):
        import tkinter

        self._tcl, self._error = tkinter.Tcl(), tkinter.TclError

    def eval(self, text: str) -> str:
        """The result of a script. Raises TclError."""
        try:
            return str(self._tcl.eval(text))
        except self._error as error:
            raise TclError(str(error)) from None

    def create(self, name: str, function: Callable) -> None:
        """A command that calls ``function`` with its words; a tuple becomes a list."""
        self._tcl.createcommand(name, function)

    def words(self, text: str) -> list[str]:
        """The elements of a Tcl list."""
        return [str(word) for word in self._tcl.splitlist(text)]


class Shell:
    """tclsh: lines of words in hexadecimal, in both directions; while it waits for a command's result it serves."""

    def __init__(self):
        self._child = subprocess.Popen(["tclsh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._functions: dict[str, Callable] = {}
        self._child.stdin.write(SERVER)

    def __del__(self):
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait(10)

    def eval(self, text: str) -> str:
        """The result of a script. Raises TclError."""
        return self._asked("eval", text)[0]

    def create(self, name: str, function: Callable) -> None:
        """A command that calls ``function`` with its words; a tuple becomes a list."""
        self._functions[name] = function
        self.eval(f"proc {name} {{args}} {{ python {name} {{*}}$args }}")

    def words(self, text: str) -> list[str]:
        """The elements of a Tcl list."""
        return self._asked("words", text)

    def _asked(self, *message: str) -> list[str]:
        self._send(*message)
        while True:
            line = self._child.stdout.readline()
            if not line:
                raise TclError("tclsh has ended")
            kind, *words = ["" if word == "-" else bytes.fromhex(word).decode() for word in line.split()]
            if kind == "failed":
                raise TclError(words[0])
            if kind == "done":
                return words
            value = self._functions[words[0]](*words[1:])
            if isinstance(value, tuple):
                self._send("list", *map(_word, value))
            else:
                self._send("value", _word(value))

    def _send(self, *words: str) -> None:
        self._child.stdin.write(" ".join(word.encode().hex() or "-" for word in words) + "\n")
        self._child.stdin.flush()


def _word(value) -> str:
    """A value as Tcl has it: nothing is the empty word, a tuple a list."""
    if isinstance(value, tuple):
        return " ".join("".join(f"\\{mark}" if mark in SPECIAL else mark for mark in _word(item)) or "{}"
                        for item in value)
    return "" if value is None else str(value)


def interpreters() -> list[type]:
    """Those that this machine has, the fastest first."""
    found: list[type] = [InProcess] if importlib.util.find_spec("tkinter") else []
    return found + ([Shell] if shutil.which("tclsh") else [])
