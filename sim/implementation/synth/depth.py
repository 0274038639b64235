# SPDX-License-Identifier: Apache-2.0
"""Longest logic paths of a mapped netlist, in LUT levels.

A path starts at a register, a clocked memory output or a port of the unit and ends at a register (data, enable or
reset), a memory input or a port. Levels on the way:

* LUT: 1. Reading a distributed memory (its address to its output): 1.
* Carry chain (CARRY4, CARRY8): 1 for the whole chain; bit k of a chain depends on bits 0..k.
* MUXF7, MUXF8, MUXF9, INV: 0; they follow the LUT in its slice, or vanish into the next LUT.
* DSP48: with MREG or PREG it ends and starts paths; with AREG or BREG alone it ends them and its product starts at
  those, the target's ``dsp_levels`` later; without registers a product takes those levels.
* Block memories end paths; their outputs start at 0 whether or not they have an output register.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from sim.implementation.synth.resources import TARGET, TARGET_FILE

REGISTER, PORT = "register", "port"
KINDS = ((REGISTER, REGISTER), (PORT, REGISTER), (REGISTER, PORT), (PORT, PORT))
_PART_BITS = 32
_CLOCKS = ("C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK", "CLKA", "CLKB")


@dataclass(frozen=True)
class Path:
    """A longest path: ``levels``, names of its ends, and the cell types between them in order."""

    levels: int
    start: str
    end: str
    cells: tuple[str, ...]

    def __str__(self):
        parts, last, count = [], None, 0
        for cell in (*self.cells, None):
            if cell != last and last:
                parts.append(f"{last} x{count}" if count > 1 else last)
            last, count = cell, count + 1 if cell == last else 1
        return f"{self.start} -> {' '.join(parts) or 'wire'} -> {self.end}"


def longest_paths(module: dict, parts: dict[str, Callable[[], dict]] | None = None) -> dict[tuple[str, str], Path]:
    """The longest path of each of :data:`KINDS` that exists, of a module from Yosys' ``write_json``.

    ``parts``: what stands inside the cells of these types; each is called once, in topological order. Raises
    ``ValueError`` for a cell type it does not know and for a loop without a register.
    """
    netlist = _Netlist()
    netlist.read(module, parts or {})
    return netlist.longest()


class _Netlist:
    def __init__(self):
        self.names = {}  # net -> name
        self.arcs = defaultdict(list)  # net -> [(net driven through a cell, levels, cell type or None)]
        self.inputs = defaultdict(int)  # net -> arcs into it
        self.starts = {REGISTER: {}, PORT: {}}  # net -> (levels, name)
        self.ends = []  # (net, kind, name)
        self.carries = set()
        self.read_parts = 0

    def read(self, module: dict, parts: dict, prefix: str = "", ports: dict | None = None) -> None:
        """Take in a module; the nets of parts are distinguished by their numbers. ``ports``: a part's pins outside."""
        base = self.read_parts << _PART_BITS
        self.read_parts += 1
        for net, name in _net_names(module["netnames"]).items():
            self.names[base + net] = prefix + name
        for name, port in module["ports"].items():
            outside = [None] * len(port["bits"]) if ports is None else ports.get(name, ["x"] * len(port["bits"]))
            for n, net in enumerate(_shift(port["bits"], base)):
                self._port(f"{name}[{n}]", port["direction"], net, outside[n])
        cells = {name: cell | {"connections": {pin: _shift(nets, base) for pin, nets in cell["connections"].items()}}
                 for name, cell in module["cells"].items() if cell["type"] != "$scopeinfo"}
        for cell in cells.values():
            if cell["type"] in TARGET.carries:
                self.carries.update(cell["connections"]["CO"])
        for name, cell in cells.items():
            if cell["type"] in parts:
                inside = prefix + name.partition("$")[0] + "."
                self.read(parts[cell["type"]](), {}, inside, cell["connections"])
            else:
                self._add(prefix + name, cell)

    def _port(self, name, direction, inside, outside):
        if outside is not None:
            source, target = (outside, inside) if direction == "input" else (inside, outside)
            self._arc(source, target, 0, None)
        elif direction == "input":
            self.starts[PORT][inside] = 0, name
        else:
            self.ends.append((inside, PORT, name))

    def _add(self, name: str, cell: dict) -> None:
        kind, pins = cell["type"], cell["connections"]
        output = {pin: nets for pin, nets in pins.items() if cell["port_directions"][pin] == "output"}
        inputs = {pin: nets for pin, nets in pins.items() if pin not in output and pin not in _CLOCKS}
        if kind.startswith("LUT") and kind[3:].isdigit():
            self._through(inputs, output, 1, kind)
        elif kind in TARGET.free:
            self._through(inputs, output, 0, kind)
        elif kind in TARGET.carries:
            self._carry(inputs, output, kind)
        elif kind in TARGET.lut_memories and kind.startswith("RAM"):
            address = {pin: nets for pin, nets in inputs.items() if pin.startswith(("ADDR", "DPRA"))
                       or (pin[0] == "A" and pin[1:].isdigit()) or pin == "A"}
            self._through(address, output, 1, kind)
            self._clocked(name, kind, inputs, output, levels=1)
        elif kind in TARGET.lut_memories or kind in TARGET.flip_flops or kind.startswith(("RAMB", "URAM")):
            self._clocked(name, kind, inputs, output)
        elif kind.startswith("DSP48"):
            registers = {reg: int(str(cell["parameters"].get(reg, "0")), 2) for reg in ("AREG", "BREG", "MREG", "PREG")}
            if registers["MREG"] or registers["PREG"]:
                self._clocked(name, kind, inputs, output)
            elif registers["AREG"] or registers["BREG"]:
                self._clocked(name, kind, inputs, output, levels=TARGET.dsp_levels)
            else:
                self._through(inputs, output, TARGET.dsp_levels, kind)
        elif kind not in TARGET.constants:
            raise ValueError(f"Cell {name!r} is a {kind!r}, whose depth is unknown here; add it to {TARGET_FILE.name}.")

    def _through(self, inputs, output, levels, kind):
        for sources in inputs.values():
            for source in sources:
                for targets in output.values():
                    for target in targets:
                        self._arc(source, target, levels, kind)

    def _carry(self, inputs, output, kind):
        for pin, sources in inputs.items():
            for k, source in enumerate(sources):
                step = pin == "CI" and source in self.carries
                for name, targets in output.items():
                    first = k + 1 if pin == "DI" and name == "O" else k
                    for target in targets[first if pin in ("DI", "S") else 0:]:
                        self._arc(source, target, 0 if step else 1, None if step else kind)

    def _arc(self, source, target, levels, kind):
        if isinstance(source, int) and isinstance(target, int):
            self.arcs[source].append((target, levels, kind))
            self.inputs[target] += 1

    def _clocked(self, name, kind, inputs, output, levels=0):
        nets = [net for nets in output.values() for net in nets]
        label = self.names.get(nets[0]) if kind in TARGET.flip_flops or kind.startswith("SRL") else None
        label = label or f"{name} ({kind})"
        for net in nets:
            self.starts[REGISTER][net] = levels, label
        for pin, sources in inputs.items():
            for source in sources:
                self.ends.append((source, REGISTER, label if pin == "D" else f"{label}.{pin}"))

    def longest(self):
        order = self._order()
        found = {}
        for begin in (REGISTER, PORT):
            level = {net: (levels, None, None) for net, (levels, _) in self.starts[begin].items()}
            for net in order:
                if net not in level:
                    continue
                here = level[net][0]
                for target, levels, kind in self.arcs.get(net, ()):
                    if target not in level or level[target][0] < here + levels:
                        level[target] = here + levels, net, kind
            for net, finish, name in self.ends:
                if net in level:
                    best = found.get((begin, finish))
                    # Equal depths: the alphabetically first end, so that a report does not change by itself.
                    if best is None or (-level[net][0], name) < (-best[0], best[2]):
                        found[begin, finish] = level[net][0], net, name, level
        return {key: self._path(key[0], *value) for key, value in found.items()}

    def _path(self, begin, levels, net, end, level):
        cells = []
        while level[net][1] is not None:
            if level[net][2]:
                cells.append(level[net][2])
            net = level[net][1]
        return Path(levels, self.starts[begin][net][1], end, tuple(reversed(cells)))

    def _order(self):
        """Nets in topological order."""
        waiting = dict(self.inputs)
        ready = deque(net for net in self.arcs if not waiting.get(net))
        order = []
        while ready:
            net = ready.popleft()
            order.append(net)
            for target, _, _ in self.arcs.get(net, ()):
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        stuck = [net for net, count in waiting.items() if count]
        if stuck:
            named = [self.names.get(net, str(net)) for net in stuck[:8]]
            raise ValueError(f"{len(stuck)} nets depend on themselves without a register between: {', '.join(named)}.")
        return order


def _shift(nets: list, base: int) -> list:
    return [net + base if isinstance(net, int) else net for net in nets]


def _net_names(netnames: dict) -> dict[int, str]:
    """A readable name of each net: public before private, short before long."""
    found = {}
    for name, net in sorted(netnames.items(), key=lambda item: (item[1].get("hide_name", 0), len(item[0]), item[0])):
        for n, bit in enumerate(net["bits"]):
            if isinstance(bit, int) and bit not in found:
                found[bit] = f"{name}[{n}]" if len(net["bits"]) > 1 else name
    return found
