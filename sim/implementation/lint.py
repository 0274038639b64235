# SPDX-License-Identifier: Apache-2.0
"""Lint of shipped Verilog by Verilator, slang and Icarus Verilog: the messages that nothing below waives."""

import re
import subprocess
import sys
from pathlib import Path

from hw.verilog import NAME
from sim.runner import toolchain

LIMIT_SECONDS = 1800
VERILATOR_WAIVED = {
    "DECLFILENAME": "all modules stand in one file",
    "UNUSEDSIGNAL": "every field of a structured payload gets a wire, read or not",
    "PROCASSINIT": "`reg x = v` is the power-up value, which FPGAs honour",
}
"""Verilator's warnings that we leave, and why; the file itself waives what its head states."""
SLANG_WAIVED = {
    "arith-op-mismatch": "operands of different widths are extended, as in the Amaranth sources",
    "sign-conversion": "signed results are kept in wires without a sign: Verilog of Amaranth has no signed ones",
    "width-trunc": "a bit is chosen by a shift, of which the lowest bit is kept",
    "case-default": "cases are completed by a default in front",
    "case-incomplete": "the same",
    "unused-but-set-net": "every field of a structured payload gets a wire, read or not",
    "unused-but-set-variable": "the same of registers",
    "unused-port": "a unit may not need all bits of a payload, nor a reset",
}
"""slang's warnings that we leave, of all that it knows, and why."""
DIALECTS = ("-g2001", "-g2005")
_SLANG = """\
import sys
from pyslang.driver import Driver

slang = Driver()
slang.addStandardArgs()
if not (slang.parseCommandLine(sys.argv[1]) and slang.processOptions() and slang.parseAllSources()):
    sys.exit(f"slang could not begin with {sys.argv[1]}.")
design = slang.createCompilation()
slang.reportCompilation(design, True)
slang.runAnalysis(design)
"""
"""slang comes as a Python package without a command; it writes its messages to standard error."""


def verilator(source: Path, waived=tuple(VERILATOR_WAIVED)) -> str:
    """What Verilator says about ``source`` with all its warnings but ``waived``."""
    toolchain()
    return _said("verilator", "--lint-only", "--quiet-stats", "-Wall", *(f"-Wno-{name}" for name in waived),
                 "--top-module", NAME, str(source))


def slang(source: Path, waived=tuple(SLANG_WAIVED)) -> str:
    """The same of slang, for Verilog-2005, with its analysis of drivers, latches and unused names."""
    options = ("slang", "--std", "1364-2005", "-Weverything", *(f"-Wno-{name}" for name in waived), "--top", NAME,
               f'"{source}"')
    return _said(sys.executable, "-c", _SLANG, " ".join(options))


def icarus(source: Path, dialect: str = DIALECTS[-1]) -> str:
    """The same of Icarus Verilog. The machine has no delays, so no ``timescale`` either."""
    return _said("iverilog", dialect, "-Wall", "-Wno-timescale", "-tnull", "-s", NAME, str(source))


def warnings_of(said: str) -> set[str]:
    """Names of the warnings in what Verilator or slang said."""
    return set(re.findall(r"(?:%Warning-|\[-W)([\w-]+)", said))


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    return done.stdout + done.stderr
