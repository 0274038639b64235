# SPDX-License-Identifier: Apache-2.0
"""Facts of an object as a small HTML table, which notebooks show instead of its text."""

from collections.abc import Iterable
from html import escape

STYLE = "text-align: left; padding: 1px 12px 1px 0; vertical-align: top"


def html_table(title: str, facts: Iterable[tuple[str, object]], below: str = "") -> str:
    """Names and values under a title, all escaped; what is None or empty is left out; ``below``: HTML that follows.

    >>> html_table("a<b", [("c", "d&e")])[:46]
    '<table><caption style="text-align: left"><b>a&'
    """
    rows = "".join(f'<tr><td style="{STYLE}">{escape(str(name))}</td><td style="{STYLE}">{escape(str(value))}</td></tr>'
                   for name, value in facts if value not in (None, ""))
    return f'<table><caption style="text-align: left"><b>{escape(title)}</b></caption>{rows}</table>{below}'
