# SPDX-License-Identifier: Apache-2.0
"""Delay lines as LUT memories: replaces chains of registers that only delay.

    d -> [register] x L -> q      becomes      d -> [16 words of 4 bits, written and read at n] -> [register] -> q
                                                              n counts 0 .. L - 2, one counter for many

Yosys does this for families whose LUTs shift. A memory takes eight places of LUTs, as many as two stages of its four
bits; its output was written as many cycles ago as its counter counts. Both begin with zeroes.
"""

from collections import defaultdict
from collections.abc import Iterator

WIDTH, DEPTH = 4, 16
"""Of a memory of LUTs."""
SHORTEST = 5
"""Shortest chain that a memory saves places on: the memory itself, and the register after it."""
SHARED = 16
"""Memories that one counter serves: more would take its wires across the part."""
_COUNTER = 4


def shorten(module: dict) -> int:
    """How many registers of a module of a JSON netlist, changed in place, went into memories."""
    cells, bits = module["cells"], _fresh(module)
    lines = defaultdict(list)
    for line in _lines(module):
        first = cells[line[0]]["connections"]
        lines[first["CLK"][0], len(line), _owner(line[0])].append(line)
    gone, waiting = 0, defaultdict(list)
    for (clock, _, owner), alike in lines.items():
        for n in range(0, len(alike), WIDTH):
            group = alike[n:n + WIDTH]
            for first, last in _stretches(len(group[0]), len(group)):
                waiting[clock, last - first, owner].append([line[first:last + 1] for line in group])
                gone += (last - first) * len(group)
    for (clock, period, owner), groups in waiting.items():
        for n in range(0, len(groups), SHARED):
            counter = _count(cells, f"{owner}delay_{period}_{n}", period, clock, bits)
            for group in groups[n:n + SHARED]:
                _remember(cells, group, counter, clock, bits)
    return gone


def _lines(module: dict) -> list[list[str]]:
    """Plain registers in a row, from SHORTEST on, of one clock, that nothing reads but the next and, after the last,
    others; by name, so that bits of a word stand together."""
    cells, readers = module["cells"], defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    readers[bit].append((name, port))
    outside = {bit for port in module["ports"].values() for bit in port["bits"]}
    following = {}
    for name, cell in cells.items():
        if cell["type"] == "DFF" and (bit := cell["connections"]["Q"][0]) not in outside and len(readers[bit]) == 1:
            (reader, port), = readers[bit]
            if (cells[reader]["type"], port) == ("DFF", "D") and (
                    cells[reader]["connections"]["CLK"] == cell["connections"]["CLK"]):
                following[name] = reader
    lines = []
    for name in sorted(following.keys() - set(following.values())):
        line = [name]
        while line[-1] in following:
            line.append(following[line[-1]])
        if len(line) >= SHORTEST:
            lines.append(line)
    return lines


def _stretches(registers: int, bits: int) -> Iterator[tuple[int, int]]:
    """(first, register after the last) of each stretch of a row that becomes a memory, where that is fewer places: a
    memory and the registers after it."""
    first = 0
    while (length := min(registers - first - 1, DEPTH)) > 1 and length * bits > 2 * WIDTH:
        yield first, first + length
        first += length


def _count(cells: dict, name: str, period: int, clock: int, bits: Iterator[int]) -> list[int]:
    """A counter of 0 .. ``period`` - 1 that recovers from any state; the bits of its state."""
    state = [next(bits) for _ in range(_COUNTER)]
    following = [0 if now + 1 >= period else now + 1 for now in range(1 << _COUNTER)]
    for n, bit in enumerate(state):
        data = next(bits)
        table = "".join(str(value >> n & 1) for value in reversed(following))
        cells[f"{name}_next{n}"] = _cell("LUT4", {"INIT": table}, {"F": [data]},
                                         {f"I{k}": [now] for k, now in enumerate(state)})
        cells[f"{name}_now{n}"] = _cell("DFF", {}, {"Q": [bit]}, {"D": [data], "CLK": [clock]})
    return state


def _remember(cells: dict, group: list[list[str]], counter: list[int], clock: int, bits: Iterator[int]) -> None:
    """A memory instead of all registers of up to WIDTH rows but the last of each, which reads it."""
    data, out = ["0"] * WIDTH, [next(bits) for _ in range(WIDTH)]
    name = f"{group[0][0]}_delay"
    for n, (first, *inner, last) in enumerate(group):
        data[n] = cells[first]["connections"]["D"][0]
        cells[last]["connections"]["D"] = [out[n]]
        for register in (first, *inner):
            del cells[register]
    cells[name] = _cell("RAM16SDP4", {f"INIT_{n}": "0" * DEPTH for n in range(WIDTH)}, {"DO": out},
                        {"CLK": [clock], "DI": data, "RAD": counter, "WAD": counter, "WRE": ["1"]})


def _cell(kind: str, parameters: dict, outputs: dict, inputs: dict) -> dict:
    directions = dict.fromkeys(outputs, "output") | dict.fromkeys(inputs, "input")
    return {"hide_name": 0, "type": kind, "parameters": parameters, "attributes": {}, "port_directions": directions,
            "connections": outputs | inputs}


def _owner(name: str) -> str:
    """The unit of a cell, whose memories may share a counter."""
    return name[:name.rfind(".") + 1]


def _fresh(module: dict) -> Iterator[int]:
    """Numbers for new wires."""
    used = [bit for cell in module["cells"].values() for bits in cell["connections"].values() for bit in bits]
    used += [bit for port in module["ports"].values() for bit in port["bits"]]
    number = max((bit for bit in used if isinstance(bit, int)), default=1)
    while True:
        number += 1
        yield number
