# SPDX-License-Identifier: Apache-2.0
"""The slowest path of a routed netlist, from the delays that nextpnr writes as SDF, its DSP blocks included.

nextpnr knows no delay of a DSP block and leaves every path through one out of its clock. Here a block costs
the target's ``product_ps``, from its inputs or the registers after them to its output or the register before that.

The graph's nodes are pins ``cell/pin``; it is traversed once, in order. Clocks arrive everywhere at once.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sim.implementation.pnr.part import TARGET
from sim.implementation.pnr.products import REGISTERS

_WIRE = re.compile(r"\(INTERCONNECT (\S+) (\S+) \(-?\d+:-?\d+:(-?\d+)\)")
_ARC = re.compile(r"\(IOPATH (\S+) (\S+) \(-?\d+:-?\d+:(-?\d+)\)")
_CHECK = re.compile(r"\(SETUPHOLD \(posedge (\S+)\) \(posedge \S+\) \(-?\d+:-?\d+:(-?\d+)\)")
_NAME = re.compile(r"\((CELLTYPE|INSTANCE) \"?([^\s\")]*)")
_CONSTANT = "$PACKER_"
_INSIDE = "/product"
_KINDS = {"LUT": "LUT", "MUX": "multiplexer", "RAM": "RAM", "MUL": "product"}


@dataclass(frozen=True)
class Slowest:
    """A path from register to register: its time, of it in wires, what it goes through, and its two ends."""

    picoseconds: int
    wires: int
    through: Counter
    begin: str
    end: str

    def __str__(self) -> str:
        through = ", ".join(f"{count} {kind}" for kind, count in self.through.items()) or "nothing"
        inside = self.picoseconds - self.wires
        return (f"{short(self.begin)} -> {through}: {inside / 1000:.1f} ns, wires {self.wires / 1000:.1f} ns -> "
                f"{short(self.end)}")


def slowest(sdf: Iterable[str], blocks: dict[str, set[str]]) -> Slowest:
    """The slowest path of an SDF text, line by line; ``blocks``: where each DSP block has registers
    (:func:`sim.implementation.pnr.products.registered`). Raises ``ValueError`` when no path ends at a register."""
    graph = _Graph()
    for line in sdf:
        graph.read(line)
    graph.add(blocks)
    return graph.slowest()


class _Graph:
    def __init__(self):
        self.next: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.begin: dict[str, int] = {}  # pins that a clock edge sets, and when
        self.setup: dict[str, int] = {}  # pins that must be stable before one, and how long
        self.type: dict[str, str] = {}
        self._cell = ""
        self._kind = ""

    def read(self, line: str) -> None:
        if wire := _WIRE.search(line):
            begin, end, delay = wire[1].replace("\\", ""), wire[2].replace("\\", ""), int(wire[3])
            if not begin.startswith(_CONSTANT):
                self.next[begin].append((end, delay))
        elif arc := _ARC.search(line):
            if arc[1].startswith("CLK"):
                self.begin[f"{self._cell}/{arc[2]}"] = int(arc[3])
            else:
                self.next[f"{self._cell}/{arc[1]}"].append((f"{self._cell}/{arc[2]}", int(arc[3])))
        elif check := _CHECK.search(line):
            self.setup[f"{self._cell}/{check[1]}"] = int(check[2])
        elif name := _NAME.search(line):
            if name[1] == "CELLTYPE":
                self._kind = name[2]
            else:
                self._cell = name[2].replace("\\", "")
                self.type[self._cell] = self._kind

    def add(self, blocks: dict[str, set[str]]) -> None:
        """The arcs of DSP blocks, that nextpnr does not write: those of one block meet in a separate node."""
        ends = {end for arcs in self.next.values() for end, _ in arcs}
        for pin in [*ends, *self.next]:
            cell, _, port = pin.rpartition("/")
            side = port.rstrip("0123456789")
            if cell not in blocks or side not in REGISTERS:
                continue
            inside, inner = f"{cell}{_INSIDE}", side in blocks[cell]
            if side == "DOUT":
                if inner:
                    self.begin[pin], self.setup[inside] = TARGET.register_ps, TARGET.setup_ps
                else:
                    self.next[inside].append((pin, 0))
            elif inner:
                self.setup[pin], self.begin[inside] = TARGET.setup_ps, TARGET.register_ps + TARGET.product_ps
            else:
                self.next[pin].append((inside, TARGET.product_ps))

    def slowest(self) -> Slowest:
        arrival, before = self._arrivals()
        ends = [(arrival[pin] + setup, pin) for pin, setup in self.setup.items() if pin in arrival]
        if not ends:
            raise ValueError("There is no path from register to register.")
        time, end = max(ends)
        path = [end]
        while path[-1] in before:
            path.append(before[path[-1]])
        return self._describe(time, path[::-1], arrival)

    def _arrivals(self) -> tuple[dict[str, int], dict[str, str]]:
        """When each pin driven from a register settles, and the pin before it on that path."""
        waiting, reached, stack = Counter(), set(self.begin), list(self.begin)
        while stack:
            for end, _ in self.next.get(stack.pop(), ()):
                waiting[end] += 1
                if end not in reached:
                    reached.add(end)
                    stack.append(end)
        arrival, before = dict(self.begin), {}
        ready = [pin for pin in reached if not waiting[pin]]
        while ready:
            begin = ready.pop()
            for end, delay in self.next.get(begin, ()):
                if end not in arrival or arrival[begin] + delay > arrival[end]:
                    arrival[end], before[end] = arrival[begin] + delay, begin
                waiting[end] -= 1
                if not waiting[end]:
                    ready.append(end)
        return arrival, before

    def _describe(self, time: int, path: list[str], arrival: dict[str, int]) -> Slowest:
        wires, through = 0, Counter()
        for begin, end in zip(path, path[1:], strict=False):
            cell = begin.rpartition("/")[0]
            if cell != end.rpartition("/")[0]:
                wires += arrival[end] - arrival[begin]
            elif not begin.endswith(_INSIDE):
                through[self._kind_of(cell, begin)] += 1
        if path[0].endswith(_INSIDE):
            through["product"] += 1
        return Slowest(time, wires, through, *(pin.rpartition("/")[0] for pin in (path[0], path[-1])))

    def _kind_of(self, cell: str, pin: str) -> str:
        kind = self.type[cell]
        if kind == "ALU":
            return "carry" if pin.endswith("/CIN") else "adder"
        return _KINDS.get(kind[:3], kind)


def short(cell: str) -> str:
    """A cell's name without the harness around its unit and without what Yosys appended for the cell itself."""
    return re.sub(r"_(DFF|MULTALU|ALU|LUT)[A-Z0-9]*(_.*)?$", "", cell.removeprefix("unit."))
