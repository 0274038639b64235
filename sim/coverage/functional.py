# SPDX-License-Identifier: Apache-2.0
"""Functional coverage: which instructions, to which destinations, at which widths, ran to a good end on which memory.

While coverage is collected, the simulated board notes the program of each job that ends with OK and the class of its
DRAM. A class of instruction is (opcode, destination, width); each is wanted on each class of memory.
"""

import itertools
import json
import os
import time
from collections import Counter
from pathlib import Path

from golden.spec.isa import INSTRUCTION_BYTES, Dest, Memory, Opcode, decode
from golden.spec.model import ConfigError
from golden.spec.regs import BY_NAME
from sim.board.settings import DRAM_BASE, DramSettings
from sim.coverage.instrument import folder

STALLS = ("ideal", "slow", "stalls")
"""Classes of memory: neither waits nor a limit below the ports; limited, refreshed or far away; random stalls."""
FAR = 100
"""Cycles of latency from which a memory counts as slow."""
NOT_WIDE, WIDE = "8 bit", "16 bit"
PACKED = ", packed weights"
NO_WIDTH = "-"


def stall_class(dram: DramSettings) -> str:
    if dram.stall > 0:
        return "stalls"
    return "slow" if dram.refresh_length or 0 < dram.bytes_per_cycle < 16 or dram.latency > FAR else "ideal"


def _width(wide: int) -> str:
    return WIDE if wide else NOT_WIDE


def class_of(opcode: Opcode, f: dict[str, int]) -> tuple[str, str, str]:
    """(opcode, destination, width) of one instruction."""
    if opcode is Opcode.LINEAR:
        source = "window" if f["window"] else "reuse" if f["reuse_weights"] else ""
        return opcode.name, " ".join(filter(None, (Dest(f["dst"]).name, source))), \
            _width(f["src_wide"]) + PACKED * f["packed"]
    if opcode is Opcode.NORM:
        return opcode.name, "OPERAND and normalized" if f["normalized"] else "OPERAND", _width(f["wide"])
    if opcode is Opcode.ATTENTION and f["class_scores"]:
        return opcode.name, f"RESIDUAL, {_width(f['wide_p'])} probabilities", NO_WIDTH
    if opcode is Opcode.ATTENTION:
        return opcode.name, f"OPERAND, {_width(f['wide_p'])} probabilities", _width(f["wide"])
    if opcode in (Opcode.LOAD, Opcode.STORE):
        return opcode.name, Memory(f["memory"]).name, NO_WIDTH
    if opcode is Opcode.GATE:
        return opcode.name, "append" if f["append"] else "new queues", NO_WIDTH
    return opcode.name, NO_WIDTH, NO_WIDTH


def wanted() -> list[tuple[str, str, str]]:
    """Every class that a legal program can have: to the gate there are no windows."""
    both, packed = (NOT_WIDE, WIDE), ("", PACKED)
    classes = [("LINEAR", f"{dest.name}{source}", width + weights) for dest, source, width, weights in
               itertools.product(Dest, ("", " reuse", " window"), both, packed)
               if (dest, source) != (Dest.GATE, " window")]
    classes += [("NORM", dest, width) for dest in ("OPERAND", "OPERAND and normalized") for width in both]
    classes += [("ATTENTION", f"OPERAND, {p} probabilities", width) for p in both for width in both]
    classes += [("ATTENTION", f"RESIDUAL, {p} probabilities", NO_WIDTH) for p in both]
    classes += [(opcode, memory.name, NO_WIDTH) for opcode in ("LOAD", "STORE") for memory in Memory]
    classes += [("GATE", what, NO_WIDTH) for what in ("new queues", "append")]
    others = ("BEGIN", "COPY", "UPSAMPLE", "EXPERTS", "KEEP", "END")
    return classes + [(opcode, NO_WIDTH, NO_WIDTH) for opcode in others]


def classes_of(program: bytes) -> Counter:
    """How often each class stands in a program; nothing after its END."""
    found: Counter = Counter()
    for at in range(0, len(program), INSTRUCTION_BYTES):
        try:
            opcode, fields = decode(int.from_bytes(program[at:at + INSTRUCTION_BYTES], "little"))
        except ConfigError:
            break
        found[class_of(opcode, fields)] += 1
        if opcode is Opcode.END:
            break
    return found


def note_job(board, dram: DramSettings) -> None:
    """Called at the end of a job on a board: leave the classes of its program, if it ended with OK."""
    into = folder()
    if into is None:
        return

    def register(name: str) -> int:
        low, high = (board.read32(BY_NAME[name].offset + 4 * word)[0] for word in range(2))
        return high << 32 | low

    if board.read32(BY_NAME["STATUS"].offset)[0] & 0xFF:
        return
    start = register("PROGRAM_ADDR") - DRAM_BASE
    program = board.dram[start:start + board.config.program_depth * INSTRUCTION_BYTES].tobytes()
    record = {"stall": stall_class(dram), "classes": [[*name, count] for name, count in classes_of(program).items()]}
    (into / "jobs").mkdir(parents=True, exist_ok=True)
    (into / "jobs" / f"{os.getpid()}-{time.monotonic_ns()}.json").write_text(json.dumps(record))


def read(path: Path) -> dict[tuple[str, str, str], Counter]:
    """Class -> instructions by class of memory, of all jobs that were noted below ``path``."""
    found: dict[tuple[str, str, str], Counter] = {}
    for file in sorted((path / "jobs").glob("*.json")):
        record = json.loads(file.read_text())
        for opcode, destination, width, count in record["classes"]:
            found.setdefault((opcode, destination, width), Counter())[record["stall"]] += count
    return found


def page(path: Path) -> str:
    """Markdown: the table, and a sentence with the share of the classes that were met."""
    found, classes = read(path), wanted()
    met = sum(found.get(name, Counter())[stall] > 0 for name in classes for stall in STALLS)
    rows = [f"| {' | '.join(name)} | {' | '.join(str(found.get(name, Counter())[stall]) for stall in STALLS)} |"
            for name in classes]
    extra = sorted(set(found) - set(classes))
    return "\n".join([
        "", "## Instructions", "",
        f"{met} of {len(classes) * len(STALLS)} classes met ({100 * met / (len(classes) * len(STALLS)):.1f} %): "
        f"opcode, destination and width on each class of memory. A 0 is a hole.", "",
        f"| opcode | destination | width | {' | '.join(STALLS)} |", "|---|---|---|" + "---|" * len(STALLS), *rows,
        *(["", f"Met, though not in the list: {extra}."] if extra else [])]) + "\n"
