# SPDX-License-Identifier: Apache-2.0
"""Exhaustive proof of a pipeline: its netlist on every input, bit by bit in parallel, against an integer formula.

The pipeline is unrolled over its latency. The result's cone must hold inputs of its own cycle only: neither inputs of
other cycles, except a reset, which does not come, nor what the registers held before. Where a unit keeps something
for inputs outside of its domain, every value that those few registers may hold is tried too.
So the values found for each input hold in every cycle of every run.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from amaranth.back import rtlil
from amaranth.hdl import Value

from sim.formal.harness import TOP, arbitrary_start
from sim.formal.prover import netlist

CHUNK = 1 << 20
"""Inputs evaluated at once."""


class Graph:
    """And-inverter graph of a unit, read from a binary AIGER file."""

    def __init__(self, path: Path):
        data = path.read_bytes()
        header, rest = data.split(b"\n", 1)
        self.inputs, latches, outputs, ands = (int(n) for n in header.split()[2:6])
        self.next, self.outputs = [], []
        for n in range(latches + outputs):
            line, rest = rest.split(b"\n", 1)
            (self.next if n < latches else self.outputs).append(int(line.split()[0]))
        self.first_latch = self.inputs + 1
        self.first_and = self.first_latch + latches
        self.ands, at = [], 0

        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = rest[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value

        for n in range(ands):
            left = 2 * (self.first_and + n) - number()
            self.ands.append((left, left - number()))
        names = {"i": {}, "o": {}}
        symbols = rest[at:].decode("latin-1")
        for kind, index, name, bit in re.findall(r"^([io])(\d+) (\S+?)(?:\[(\d+)\])?$", symbols, re.M):
            names[kind][name, int(bit or 0)] = int(index)
        self.input_of, self.output_of = names["i"], names["o"]
        self.fixed = {number + 1 for (name, _), number in self.input_of.items() if name in ("clk", "rst")}

    def cone(self, literals: list[int], latency: int, held: int = 0) -> list[set[int]]:
        """Variables that ``literals`` depend on in each of the cycles 0 .. latency. Raises ``AssertionError`` where
        they depend on an input of a cycle other than 0, or on more than ``held`` registers before cycle 0."""
        needed = [set() for _ in range(latency + 1)]
        needed[latency] = {literal >> 1 for literal in literals} - {0}
        for cycle in range(latency, -1, -1):
            for variable in self._down(needed[cycle]):
                if variable < self.first_latch:
                    assert cycle == 0 or variable in self.fixed, f"The result depends on an input {cycle} cycles later."
                elif variable < self.first_and:
                    if cycle == 0:
                        continue
                    source = self.next[variable - self.first_latch] >> 1
                    if source:
                        needed[cycle - 1].add(source)
        assert len(self.held(needed)) <= held, "The result depends on what registers held before."
        return needed

    def held(self, cone: list[set[int]]) -> list[int]:
        """Registers of a cone whose values from before cycle 0 matter."""
        return [variable for variable in sorted(cone[0]) if self.first_latch <= variable < self.first_and]

    def _down(self, needed: set[int]) -> list[int]:
        """Adds to ``needed`` what its gates need; all variables, descending."""
        for variable in range(max(needed, default=0), self.first_and - 1, -1):
            if variable in needed:
                needed.update(literal >> 1 for literal in self.ands[variable - self.first_and] if literal > 1)
        return sorted(needed, reverse=True)

    def evaluate(self, literals: list[int], latency: int, cone: list[set[int]], given: dict[int, np.ndarray],
                 words: int, before: dict[int, np.ndarray]) -> list[np.ndarray]:
        """Values of ``literals`` in cycle ``latency`` for the bits ``given`` to the inputs in cycle 0 and the values
        that registers held ``before``."""
        zero = np.zeros(words, np.uint64)
        held = before

        def value(values, literal):
            found = values[literal >> 1] if literal > 1 else zero
            return ~found if literal & 1 else found

        for cycle in range(latency + 1):
            values = {}
            for variable in sorted(cone[cycle]):
                if variable < self.first_latch:
                    values[variable] = given[variable - 1]
                elif variable < self.first_and:
                    values[variable] = (value(before, self.next[variable - self.first_latch]) if cycle
                                        else held[variable])
                else:
                    left, right = self.ands[variable - self.first_and]
                    values[variable] = value(values, left) & value(values, right)
            before = values
        return [value(before, literal) for literal in literals]


def results(unit, directory: Path, inputs: Iterator[dict[str, np.ndarray]], outputs: dict[str, int],
            latency: int, held: int = 0) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """(inputs, outputs) of ``unit``: each of ``inputs`` names the port bits' values, inputs that are not named are 0;
    ``outputs`` names ports with their widths, negative where they are signed."""
    ports = [value for _, member, value in unit.signature.flatten(unit) if member.is_port]
    netlist(arbitrary_start(rtlil.convert(unit, name=TOP, ports=[Value.cast(p) for p in ports], emit_src=False),
                            everywhere=True), directory, initial=False)
    graph = Graph(directory / "design.aig")
    literals = [graph.outputs[graph.output_of[name, bit]]
                for name, width in outputs.items() for bit in range(abs(width))]
    cone = graph.cone(literals, latency, held)
    kept = graph.held(cone)
    for chunk in inputs:
        count = len(next(iter(chunk.values())))
        words = -(-count // 64)
        given = {number: np.zeros(words, np.uint64) for number in range(graph.inputs)}
        for (name, bit), number in graph.input_of.items():
            if name in chunk:
                bits = np.zeros(64 * words, np.uint8)
                bits[:count] = chunk[name] >> bit & 1
                given[number] = np.packbits(bits, bitorder="little").view(np.uint64)
        for choice in range(1 << len(kept)):
            before = {register: np.full(words, -(choice >> n & 1), np.int64).view(np.uint64)
                      for n, register in enumerate(kept)}
            found = iter(graph.evaluate(literals, latency, cone, given, words, before))
            values = {}
            for name, width in outputs.items():
                total = np.zeros(count, np.int64)
                for bit in range(abs(width)):
                    bits = np.unpackbits(next(found).view(np.uint8), bitorder="little")[:count]
                    total |= bits.astype(np.int64) << bit
                values[name] = total - (total >> -width - 1 << -width) if width < 0 else total
            yield chunk, values
