# SPDX-License-Identifier: Apache-2.0
"""Synthesis report: areas and depths of units, compared with a board's."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from golden.spec.whole_file import write_whole
from host.report.synthesis import GLUE, LOGIC, MACHINE, MUST
from sim.implementation.synth import depth, design, flow, resets
from sim.implementation.synth import resources as resources_of
from sim.implementation.synth.resources import TARGET_FILE, bram36, resources


@dataclass(frozen=True)
class Result:
    """One unit: areas, longest path of each kind, what its memories became, how many products it asked for, the net
    that resets the most flip-flops."""

    unit: str
    resources: Counter
    paths: dict[tuple[str, str], depth.Path]
    memories: dict[str, str] = field(default_factory=dict)
    products: int = 0
    reset: tuple[str, int] = ("", 0)
    seconds: float = 0.0

    @property
    def levels(self) -> int:
        """Depth from register to register."""
        path = self.paths.get((depth.REGISTER, depth.REGISTER))
        return path.levels if path else 0

    def as_json(self) -> dict:
        return {"unit": self.unit, "resources": dict(self.resources), "bram36": bram36(self.resources),
                "paths": {f"{a} to {b}": asdict(path) for (a, b), path in self.paths.items()},
                "memories": self.memories, "products": self.products, "reset": list(self.reset)}

    @classmethod
    def from_json(cls, entry: dict) -> "Result":
        """What :meth:`as_json` wrote."""
        paths = {tuple(kind.split(" to ")): depth.Path(**path | {"cells": tuple(path["cells"])})
                 for kind, path in entry["paths"].items()}
        name, count = entry.get("reset", ("", 0))
        return cls(entry["unit"], Counter(entry["resources"]), paths, entry["memories"], entry["products"],
                   (name, count))


def measure(text: str, name: str, progress=None) -> Result:
    """Synthesise one unit from its RTLIL."""
    began = time.perf_counter()
    stat, netlist = flow.synthesise(text, progress=progress)

    def analyse() -> Result:
        module = flow.load(netlist)
        return Result(
            unit=name, resources=resources(stat["design"]["num_cells_by_type"]), paths=depth.longest_paths(module),
            memories=_homes(design.memories(text), module["cells"]), products=design.products(text),
            reset=resets.widest_reset(module))

    return replace(_kept(netlist.parent / f"{_ANALYSIS}.json", analyse), unit=name,
                   seconds=time.perf_counter() - began)


def of_clusters(one: Result, count: int) -> Result:
    """A unit of so many clusters, which are alike, from one of them: areas of all, all else of one."""
    areas = Counter({name: count * used for name, used in one.resources.items()})
    return replace(one, resources=areas, products=count * one.products)


def measure_machine(text: str, progress) -> Iterator[Result]:
    """Synthesise the machine unit by unit, as its top makes them; then the top's own logic, with what distributes work
    to clusters; the last is the whole.

    Its areas are the sum of all others; its paths run through as many units as they do. ``progress(n, count, unit)`` is
    called before each synthesis that is not kept from before.
    """
    began = time.perf_counter()
    shell, children = design.split(text)
    parts, results = {}, []
    alike: dict[str, list[tuple[str, str]]] = {}
    for part, child in children.items():
        alike.setdefault(design.CLUSTER.sub("", part), []).append(child)
    for n, (unit, group) in enumerate(alike.items(), 1):
        _, first = group[0]
        one = measure(first, unit, lambda n=n, unit=unit: progress(n, len(alike) + 1, unit))
        results.append(of_clusters(one, len(group)))
        parts |= {kind: partial(_netlist_of, first, design.same_ports(first, inside)) for kind, inside in group}
        yield results[-1]
    stat, netlist = flow.synthesise(shell, progress=lambda: progress(len(alike) + 1, len(alike) + 1, GLUE))
    own = {kind: count for kind, count in stat["design"]["num_cells_by_type"].items() if kind not in parts}
    results.append(Result(unit=GLUE, resources=resources(own), paths={}))
    yield results[-1]

    def join() -> Result:
        top = flow.load(netlist)
        return Result(unit=MACHINE, resources=sum((result.resources for result in results), Counter()),
                      products=sum(result.products for result in results),
                      reset=max(*(result.reset for result in results), resets.widest_reset(top),
                                key=lambda reset: reset[1]),
                      paths=depth.longest_paths(top, parts))

    name = flow.digest(shell, *(inside for _, inside in children.values()))
    yield replace(_kept(netlist.parent / f"{_ANALYSIS}-{name}.json", join), seconds=time.perf_counter() - began)


_ANALYSIS = flow.digest(*(Path(module.__file__).read_text() for module in (depth, design, resets, resources_of)),
                        TARGET_FILE.read_text())
"""Version hash of the analysis: results are recomputed when its sources or the target have changed."""


def _kept(path: Path, make) -> Result:
    """The result in ``path``, made if need be."""
    if not path.exists():
        result = make()
        write_whole(path, lambda part: part.write_text(json.dumps(result.as_json())))
    return Result.from_json(json.loads(path.read_text()))


def _netlist_of(text: str, names: dict[str, str]) -> dict:
    """The netlist of a unit with other names of its ports, those that have one."""
    netlist = flow.load(flow.synthesise(text)[1])
    return netlist | {"ports": {names[name]: port for name, port in netlist["ports"].items() if name in names}}


def _homes(memories: dict[str, tuple[int, int]], cells: dict) -> dict[str, str]:
    """What became of each memory: ``width x rows: cells``."""
    found = {}
    for name, (width, rows) in memories.items():
        kinds = Counter(cell["type"] for label, cell in cells.items()
                        if label.startswith(f"{name}.") and cell["type"].startswith(("RAM", "URAM")))
        became = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "logic or registers"
        found[name] = f"{width} x {rows}: {became}"
    return found


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
    """Memories and products of each unit and what they were mapped to, and its widest reset; small memories that look
    alike in one line."""
    lines = []
    for result in results:
        alike = {}
        for name, home in result.memories.items():
            alike.setdefault(home, []).append(name)
        lines += [f"{result.unit}, {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}, {home}"
                  for home, names in alike.items()]
        if result.products:
            lines.append(f"{result.unit}, {result.products} products: {result.resources['DSP']} DSP48E2")
        if result.reset[1]:
            lines.append(f"{result.unit}, widest reset: {result.reset[0]} of {result.reset[1]:,} flip-flops")
    return lines


def violations(results: list[Result], machine: str) -> list[str]:
    """Violations of :data:`LOGIC`, and of :data:`MUST` for ``machine``, one sentence each."""
    found = [f"{result.unit}: {path.levels} levels from {a} to {b}, {LOGIC['levels']} allowed."
             for result in results for (a, b), path in result.paths.items() if path.levels > LOGIC["levels"]]
    found += [f"{result.unit}: {result.reset[0]} resets {result.reset[1]:,} flip-flops, {LOGIC['reset']:,} allowed."
              for result in results if result.reset[1] > LOGIC["reset"]]
    for result in results:
        if result.unit == MACHINE:
            used = result.resources | {"BRAM36": bram36(result.resources)}
            found += [f"whole machine: {used[name]:,.0f} {name}, {most:,} allowed."
                      for name, most in MUST.get(machine, {}).items() if used.get(name, 0) > most]
    return found


def save(text: str, path: Path) -> None:
    """Write ``text`` and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
