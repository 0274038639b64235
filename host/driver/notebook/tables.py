# SPDX-License-Identifier: Apache-2.0
"""Facts of objects as small HTML tables, which notebooks show instead of their text."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from html import escape

STYLE = "text-align: left; padding: 1px 12px 1px 0; vertical-align: top"


def table(title: str, facts: Iterable[tuple[str, object]], below: str = "") -> str:
    """A table of names and values under a title, all escaped; ``below``: HTML that follows it.

    >>> table("a<b", [("c", "d&e")])[:46]
    '<table><caption style="text-align: left"><b>a&'
    """
    rows = "".join(f'<tr><td style="{STYLE}">{escape(str(name))}</td><td style="{STYLE}">{escape(str(value))}</td></tr>'
                   for name, value in facts if value not in (None, ""))
    return f'<table><caption style="text-align: left"><b>{escape(title)}</b></caption>{rows}</table>{below}'


class Shown(ABC):
    """Shows itself in notebooks as a table under its one-line text."""

    @abstractmethod
    def _facts(self) -> Iterable[tuple[str, object]]:
        """Names and values, in their order; nothing that touches a device. Values that are None are left out."""

    def _repr_html_(self) -> str:
        return table(repr(self).strip("<>"), self._facts())
