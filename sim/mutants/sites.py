# SPDX-License-Identifier: Apache-2.0
"""Mutants of a source text: every small change that the tool knows, by kind and place."""

import ast
import difflib
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim.mutants.units import ROOT, UNITS

OPERATORS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
             ast.BitXor: ("^", "|"), ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<")}
COMPARISONS = {ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"),
               ast.Gt: (">", ">="), ast.GtE: (">=", ">")}
CONNECTS = {"connect", "_join", "_assign"}
"""Functions whose calls alone make a statement that wires something."""
KINDS = ("operator", "comparison", "constant", "slice", "inverted", "condition", "mux", "width", "dropped")


@dataclass(frozen=True)
class Mutant:
    """In ``module`` (dotted), the characters ``start:end`` of the source become ``new``; ``kind`` is one of KINDS."""

    module: str
    kind: str
    start: int
    end: int
    new: str

    @property
    def path(self) -> Path:
        return ROOT / Path(*self.module.split(".")).with_suffix(".py")

    def source(self) -> str:
        """The whole text with the change."""
        text = self.path.read_text()
        return text[:self.start] + self.new + text[self.end:]

    def diff(self) -> str:
        """Lines that differ, with their number."""
        old, new = self.path.read_text().splitlines(), self.source().splitlines()
        lines = [line for line in difflib.unified_diff(old, new, lineterm="", n=0) if line[:2] not in ("--", "++")]
        return f"{self.path.relative_to(ROOT)} ({self.kind})\n" + "\n".join(f"    {line.rstrip()}" for line in lines)

    def lines(self) -> tuple[str, str]:
        """The changed source lines before and after, without indentation: what names this mutant in a file."""
        text = self.path.read_text()
        first, last = text.rfind("\n", 0, self.start) + 1, text.find("\n", self.end)
        changed = text[first:self.start] + self.new + text[self.end:last]
        return " ".join(text[first:last].split()), " ".join(changed.split())


class _Finder(ast.NodeVisitor):
    """Collects (kind, start, end, new) of one source text."""

    def __init__(self, text: str):
        self.text, self.found = text, []
        self.offsets = [0]
        for line in text.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.lines = text.splitlines(keepends=True)
        self.slices: set[int] = set()
        self.widths: set[int] = set()

    def at(self, line: int, column: int) -> int:
        """Offset in characters; Python counts columns in bytes."""
        return self.offsets[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node) -> tuple[int, int]:
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def code(self, node) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def add(self, kind: str, start: int, end: int, new: str) -> None:
        self.found.append((kind, start, end, new))

    def between(self, kind: str, left, right, symbols: tuple[str, str]) -> None:
        """Replace the operator that stands between two nodes."""
        start, end = self.span(left)[1], self.span(right)[0]
        place = re.search(re.escape(symbols[0]), self.text[start:end])
        assert place, self.text[start:end]
        self.add(kind, start + place.start(), start + place.end(), symbols[1])

    # -- nodes that are not gateware

    def visit_FunctionDef(self, node) -> None:
        if node.name == "__init__":
            return
        for child in node.body:
            self.visit(child)

    def visit_ClassDef(self, node) -> None:
        for child in node.body:
            if isinstance(child, ast.FunctionDef):
                self.visit(child)

    def _skip(self, node) -> None:
        """Neither refusals nor types of the generator nor text."""

    visit_Raise = visit_Assert = visit_AnnAssign = visit_JoinedStr = visit_Import = visit_ImportFrom = _skip

    def visit_keyword(self, node) -> None:
        if node.arg not in ("name", "attrs", "src_loc_at"):
            self.visit(node.value)

    # -- expressions

    def visit_BinOp(self, node) -> None:
        if type(node.op) in OPERATORS:
            self.between("operator", node.left, node.right, OPERATORS[type(node.op)])
        self.generic_visit(node)

    def visit_Compare(self, node) -> None:
        if len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            self.between("comparison", node.left, node.comparators[0], COMPARISONS[type(node.ops[0])])
        self.generic_visit(node)

    def visit_UnaryOp(self, node) -> None:
        if isinstance(node.op, ast.Invert):
            start, _ = self.span(node)
            self.add("inverted", start, start + 1, "")
        self.generic_visit(node)

    def visit_Constant(self, node) -> None:
        if type(node.value) is not int or id(node) in self.widths:
            return
        kind = "slice" if id(node) in self.slices else "constant"
        for value in {node.value + 1, max(0, node.value - 1)} - {node.value}:
            self.add(kind, *self.span(node), str(value))

    def visit_Subscript(self, node) -> None:
        self.slices |= {id(child) for child in ast.walk(node.slice) if isinstance(child, ast.Constant)}
        self.generic_visit(node)

    def visit_Call(self, node) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name == "Mux" and len(node.args) == 3:
            first, second = node.args[1:]
            start, end = self.span(first)[0], self.span(second)[1]
            self.add("mux", start, end, f"{self.code(second)}, {self.code(first)}")
        if name in ("If", "Elif") and len(node.args) == 1:
            self.add("condition", *self.span(node.args[0]), f"({self.code(node.args[0])}) == 0")
        if name == "Signal" and node.args:
            self._width(node.args[0])
        self.generic_visit(node)

    def _width(self, shape) -> None:
        """One bit less: ``n`` bits, ``signed(n)``, ``unsigned(n)``, or half the ``range(n)``."""
        if isinstance(shape, ast.Call) and isinstance(shape.func, ast.Name) and len(shape.args) == 1:
            if shape.func.id == "range":
                self.add("width", *self.span(shape.args[0]), f"(({self.code(shape.args[0])}) + 1) // 2")
                return
            if shape.func.id in ("signed", "unsigned"):
                shape = shape.args[0]
        if isinstance(shape, ast.Constant | ast.Name | ast.BinOp | ast.Attribute | ast.Call):
            self.widths |= {id(child) for child in ast.walk(shape)}
            self.add("width", *self.span(shape), f"({self.code(shape)}) - 1")

    # -- statements

    def visit_AugAssign(self, node) -> None:
        if isinstance(node.target, ast.Attribute) and ast.unparse(node.target).startswith("m.d."):
            if isinstance(node.value, ast.List) and len(node.value.elts) > 1:
                self._elements(node.value.elts)
            else:
                self.add("dropped", *self.span(node), "pass")
        self.generic_visit(node)

    def _elements(self, elements) -> None:
        spans = [self.span(element) for element in elements]
        for i, (start, end) in enumerate(spans):
            if i + 1 < len(spans):
                self.add("dropped", start, spans[i + 1][0], "")
            else:
                self.add("dropped", spans[i - 1][1], end, "")

    def visit_Assign(self, node) -> None:
        if ast.unparse(node.targets[0]) == "m.next":
            self.add("dropped", *self.span(node), "pass")
        self.generic_visit(node)

    def visit_Expr(self, node) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).split(".")[-1] in CONNECTS:
            self.add("dropped", *self.span(node), "pass")
        self.generic_visit(node)


@cache
def mutants(path: Path) -> list[Mutant]:
    """All mutants of one source file, in the order of the text."""
    text, module = path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts)
    finder = _Finder(text)
    finder.visit(ast.parse(text))
    found = {Mutant(module, *change) for change in finder.found}
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.kind, mutant.new))


def draw(unit: str, seed: int) -> list[Mutant]:
    """All mutants of a unit in an order drawn by ``seed``: kinds in turn, so that the rare ones occur as well."""
    rng, kinds = random.Random(f"{unit} {seed}"), defaultdict(list)
    for path in UNITS[unit].files():
        for mutant in mutants(path):
            kinds[mutant.kind].append(mutant)
    for found in kinds.values():
        rng.shuffle(found)
    drawn = []
    while any(kinds.values()):
        turn = [kind for kind in KINDS if kinds[kind]]
        rng.shuffle(turn)
        drawn += [kinds[kind].pop() for kind in turn]
    return drawn
