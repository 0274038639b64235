# SPDX-License-Identifier: Apache-2.0
"""Branches and lines of the gateware's source, and which of them the collected runs have covered."""

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sim.coverage.instrument import ARMS, FALSE, ROOT, TRUE, place_of

Place = tuple[str, int, str]
"""File below hw without suffix, line, arm."""


@dataclass
class File:
    """Of one source file: its branches, and for each line of a statement the branch that it stands in, if any."""

    name: str
    branches: set[tuple[int, str]] = field(default_factory=set)
    lines: dict[int, int | None] = field(default_factory=dict)


def _opens(node: ast.With) -> str:
    """Name of the branch that a ``with`` opens."""
    call = node.items[0].context_expr
    name = call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""
    return name if name in ARMS else ""


def read(path: Path) -> File:
    """Branches and lines of one file: functions of gateware, without constructors, declarations and refusals."""
    found = File(str(path.relative_to(ROOT / "hw").with_suffix("")))

    def visit(body: list[ast.stmt], owner: int | None) -> None:
        for node in body:
            inner = owner
            if isinstance(node, ast.With) and (name := _opens(node)):
                inner = node.items[0].context_expr.lineno
                found.branches.add((inner, TRUE))
                if name == "If":
                    found.branches.add((inner, FALSE))
            elif isinstance(node, ast.AugAssign | ast.Assign | ast.Expr) and not (
                    isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                found.lines[node.lineno] = owner
            for name in ("body", "orelse"):
                visit([child for child in getattr(node, name, []) or [] if isinstance(child, ast.stmt)], inner)

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__" and "m" in _names(node):
            visit(node.body, None)
    return found


def _names(node: ast.FunctionDef) -> set[str]:
    """Names that a function uses: one that has no ``m`` builds nothing."""
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)} | {arg.arg for arg in node.args.args}


@dataclass
class Coverage:
    """What runs have covered: hits of each branch, the files of which something was elaborated, toggled bits."""

    hits: dict[Place, int] = field(default_factory=dict)
    elaborated: set[str] = field(default_factory=set)
    toggles: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[dict]) -> "Coverage":
        """Merged from the records of :func:`sim.coverage.instrument.keep`."""
        merged = cls()
        for record in records:
            merged.elaborated |= set(record["elaborated"])
            for name, count in record["points"].items():
                place = place_of(name)
                merged.hits[place] = merged.hits.get(place, 0) + count
            total, hit = record["toggles"]
            merged.toggles[record["run"]] = total, max(hit, merged.toggles.get(record["run"], (0, 0))[1])
        return merged

    @classmethod
    def read(cls, folder: Path) -> "Coverage":
        return cls.of(json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))

    def branch(self, name: str, line: int, arm: str) -> bool:
        return self.hits.get((name, line, arm), 0) > 0

    def line(self, file: File, line: int) -> bool:
        """A statement in a branch is covered with it; any other with the component that it builds."""
        owner = file.lines[line]
        return file.name in self.elaborated if owner is None else self.branch(file.name, owner, TRUE)
