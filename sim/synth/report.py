# SPDX-License-Identifier: Apache-2.0
"""Synthesises units and lays their areas and depths beside a board's."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from golden.spec.boards import Board
from sim.synth import depth, design, flow, units
from sim.synth.resources import COLUMNS, bram36, resources

MUST = {"DSP": 1754, "LUT": 156_000, "BRAM36": 638, "levels": 8}
"""What the whole zcu102 machine, and each of its paths, must stay within."""


@dataclass(frozen=True)
class Result:
    """One unit: areas, longest path of each kind, what its memories became, how many products it asked for."""

    unit: str
    resources: Counter
    paths: dict[tuple[str, str], depth.Path]
    memories: dict[str, str] = field(default_factory=dict)
    products: int = 0
    seconds: float = 0.0

    @property
    def levels(self) -> int:
        """Depth from register to register."""
        path = self.paths.get((depth.REGISTER, depth.REGISTER))
        return path.levels if path else 0

    def as_json(self) -> dict:
        return {"unit": self.unit, "resources": dict(self.resources), "bram36": bram36(self.resources),
                "paths": {f"{a} to {b}": asdict(path) for (a, b), path in self.paths.items()},
                "memories": self.memories, "products": self.products}


def measure(text: str, name: str, progress=None) -> Result:
    """Synthesise one unit from its RTLIL."""
    began = time.perf_counter()
    stat, netlist = flow.synthesise(text, progress=progress)
    module = flow.load(netlist)
    return Result(
        unit=name, resources=resources(stat["design"]["num_cells_by_type"]), paths=depth.longest_paths(module),
        memories=_homes(design.memories(text), module["cells"]), products=design.products(text),
        seconds=time.perf_counter() - began)


def measure_machine(text: str, progress) -> Iterator[Result]:
    """Synthesise the machine unit by unit, as its top makes them; the last result is the whole.

    Its paths run through as many units as they do. ``progress(n, count, unit)`` is called before each synthesis that is
    not kept from before.
    """
    began = time.perf_counter()
    shell, children = design.split(text)
    total, products, parts = Counter(), 0, {}
    for n, (unit, (kind, inside)) in enumerate(children.items(), 1):
        result = measure(inside, unit, lambda n=n, unit=unit: progress(n, len(children) + 1, unit))
        total += result.resources
        products += result.products
        parts[kind] = partial(_netlist_of, inside)
        yield result
    stat, netlist = flow.synthesise(shell, progress=lambda: progress(len(children) + 1, len(children) + 1, units.TOP))
    wires = {kind: count for kind, count in stat["design"]["num_cells_by_type"].items() if kind not in parts}
    yield Result(unit=units.TOP, resources=total + resources(wires), products=products,
                 paths=depth.longest_paths(flow.load(netlist), parts), seconds=time.perf_counter() - began)


def _netlist_of(text: str) -> dict:
    return flow.load(flow.synthesise(text)[1])


def _homes(memories: dict[str, tuple[int, int]], cells: dict) -> dict[str, str]:
    """What became of each memory: ``width x rows: cells``."""
    found = {}
    for name, (width, rows) in memories.items():
        kinds = Counter(cell["type"] for label, cell in cells.items()
                        if label.startswith(f"{name}.") and cell["type"].startswith(("RAM", "URAM")))
        became = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "logic or registers"
        found[name] = f"{width} x {rows}: {became}"
    return found


def table(results: list[Result], board: Board) -> str:
    """Markdown: a row a unit; the machine's, when it was measured, beside the board."""
    head = ["unit", "LUT", "of them RAM", "FF", "DSP", "BRAM36", "URAM", "CARRY8", "levels", "in", "out", "through"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for result in results:
        lines.append([result.unit, *_areas(result.resources), result.levels, *(
            _level(result, kind) for kind in depth.KINDS[1:])])
    have = {"LUT": board.lut, "FF": board.ff, "DSP": board.dsp, "BRAM36": board.bram36, "URAM": board.uram}
    lines.append([f"{board.name} has", f"{have['LUT']:,}", "", f"{have['FF']:,}", have["DSP"], have["BRAM36"],
                  have["URAM"], "", "", "", "", ""])
    whole = next((result for result in results if result.unit == units.TOP), None)
    if whole:
        used = whole.resources | Counter()
        used["BRAM36"] = bram36(whole.resources)
        share = {name: f"{100 * used[name] / count:.0f} %" if count else "" for name, count in have.items()}
        lines.append(["used", share["LUT"], "", share["FF"], share["DSP"], share["BRAM36"], share["URAM"],
                      "", "", "", "", ""])
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def path_lines(results: list[Result], above: int) -> list[str]:
    """The longest register-to-register path of each unit; any other kind of path when deeper than ``above``."""
    lines = []
    for result in results:
        for kind in depth.KINDS:
            path = result.paths.get(kind)
            if path and (kind == depth.KINDS[0] or path.levels > above):
                lines.append(f"{result.unit}, {kind[0]} to {kind[1]}, {path.levels} levels: {path}")
    return lines


def inference_lines(results: list[Result]) -> list[str]:
    """Memories and products of each unit and what they were mapped to; small memories that look alike in one line."""
    lines = []
    for result in results:
        alike = {}
        for name, home in result.memories.items():
            alike.setdefault(home, []).append(name)
        lines += [f"{result.unit}, {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}, {home}"
                  for home, names in alike.items()]
        if result.products:
            lines.append(f"{result.unit}, {result.products} products: {result.resources['DSP']} DSP48E2")
    return lines


def violations(results: list[Result]) -> list[str]:
    """What breaks :data:`MUST`, one sentence each."""
    found = [f"{result.unit}: {path.levels} levels from {a} to {b}, {MUST['levels']} allowed."
             for result in results for (a, b), path in result.paths.items() if path.levels > MUST["levels"]]
    for result in results:
        if result.unit == units.TOP:
            used = {"DSP": result.resources["DSP"], "LUT": result.resources["LUT"], "BRAM36": bram36(result.resources)}
            found += [f"whole machine: {count:,.0f} {name}, {MUST[name]:,} allowed."
                      for name, count in used.items() if count > MUST[name]]
    return found


def _areas(count: Counter) -> list[str]:
    shown = {name: count[name] for name in COLUMNS} | {"BRAM36": bram36(count)}
    return [f"{shown[name]:,.0f}" if shown[name] == int(shown[name]) else f"{shown[name]:,.1f}"
            for name in COLUMNS if name != "BRAM18"]


def _level(result: Result, kind) -> str:
    path = result.paths.get(kind)
    return str(path.levels) if path else "-"


def rewritten(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between ``<!-- measured NAME -->`` and ``<!-- end measured NAME -->``.

    Raises ``ValueError`` when the page has no such marks.
    """
    head, tail = f"<!-- measured {name} -->", f"<!-- end measured {name} -->"
    if head not in page or tail not in page:
        raise ValueError(f"The page has no place for {name}; put {head} and {tail} where the table shall stand.")
    return page[:page.index(head) + len(head)] + f"\n\n{text}\n\n" + page[page.index(tail):]


def save(text: str, path: Path) -> None:
    """Write ``text`` and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
