# SPDX-License-Identifier: Apache-2.0
"""Results of verbs on stdout: a table, one JSON object, or comma-separated values; files that cannot be written."""

import csv
import enum
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MODELS = (".safetensors",)
"""Suffixes of model files: by them they are known."""
DRAWINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".tif", ".tiff", ".webp")
"""Suffixes of what matplotlib draws."""


class UsageError(ValueError):
    """An argument that makes no sense; the message says what was wanted."""


class Form(enum.Enum):
    """How a verb prints its results."""

    TABLE, JSON, CSV = "table", "json", "csv"


def form_of(json_: bool, csv_: bool) -> Form:
    """What --json and --csv ask for. Raises UsageError for both."""
    if json_ and csv_:
        raise UsageError("--json and --csv are two forms of the same results: choose one.")
    return Form.JSON if json_ else Form.CSV if csv_ else Form.TABLE


@dataclass(frozen=True)
class Told:
    """A result that a table tells in words: ``value`` is for programs, ``text`` for people."""

    value: Any
    text: str


def show(form: Form, title: str, facts: dict, rows: Sequence[Mapping] | None = None) -> None:
    """Print ``facts``, one a row under ``title``; as one JSON object; or as CSV, which is ``rows`` where the verb has
    a table besides, else one row of all facts.
    """
    if form is Form.JSON:
        print_json(facts)
    elif form is Form.CSV:
        print_csv([flat(facts)] if rows is None else rows)
    else:
        table = Table(title=escape(title), show_header=False)
        for key, value in facts.items():
            table.add_row(key.replace("_", " "), escape(_shown(value)))
        Console().print(table)


def plain(value: Any) -> Any:
    """``value`` of JSON's types: numbers as they are, what is no number or infinite as None.

    >>> plain({"a": (1, float("nan")), "b": Told(0.5, "half"), "c": Path("x")})
    {'a': [1, None], 'b': 0.5, 'c': 'x'}
    """
    if isinstance(value, Told):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if (listed := getattr(value, "tolist", None)) is not None:  # of numpy's arrays and scalars
        return plain(listed())
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    return [plain(each) for each in value] if isinstance(value, Iterable) and not isinstance(value, Path) \
        else str(value)


def print_json(value: Any) -> None:
    """One line of JSON, without NaN."""
    print(json.dumps(plain(value), allow_nan=False))


def print_csv(rows: Iterable[Mapping], columns: Sequence[str] = ()) -> None:
    """Comma-separated values as RFC 4180 has them; ``columns``: names where there may be no row."""
    printed = CsvRows(columns)
    for row in rows:
        printed(row)
    printed.close()


class CsvRows:
    """Prints rows as they come, all of the same columns, the names first. None is an empty field; lists are JSON."""

    def __init__(self, columns: Sequence[str] = ()):
        self.columns, self._began = tuple(columns), False
        self._writer = csv.writer(sys.stdout)

    def __call__(self, row: Mapping) -> None:
        self.columns = self.columns or tuple(row)
        self._names()
        values = (plain(row[name]) for name in self.columns)
        self._writer.writerow("" if value is None else json.dumps(value) if isinstance(value, list | dict | bool) else
                              value for value in values)

    def close(self) -> None:
        """Print the names, if no row came."""
        self._names()

    def _names(self) -> None:
        if not self._began and self.columns:
            self._writer.writerow(self.columns)
        self._began = True


def flat(facts: Mapping, before: str = "") -> dict:
    """``facts`` without facts in facts: those have names like ``outer.inner``.

    >>> flat({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    found: dict = {}
    for key, value in facts.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def _shown(value: Any) -> str:
    if isinstance(value, Told):
        return value.text
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def check_output(path: Path | None, *sources: Path | None, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, a file that could not be written, would not be known by its suffix, or is, or lies in,
    one of the ``sources`` that are read. Raises UsageError.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} for {path.name}.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file to write.")
    if suffixes and path.suffix not in suffixes:
        raise UsageError(f"The output must be a file {', '.join(suffixes)}, not {path.name!r}.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a pipe or device; name a file to write.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"The folder {path.parent} of {path.name} may not be written to.")
    for source in sources:
        if source is None or not source.exists():
            continue
        if path.exists() and path.samefile(source):
            raise UsageError(f"{path} is the input; name another file to write.")
        if source.is_dir() and path.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{path} lies in the folder {source}, which is the input; name a place outside of it.")
