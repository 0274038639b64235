# SPDX-License-Identifier: Apache-2.0
"""A drawing in SVG: shapes and texts at absolute places, coloured by classes of `templates/chart.css`."""

from pathlib import Path

from markupsafe import Markup

from golden.spec.whole_file import write_whole

STYLE = Path(__file__).parent / "templates" / "chart.css"
SMALL, USUAL = 11, 12
"""Sizes of texts."""
WIDE = 0.62
"""Width of a letter over the size of its text, of the widest of the usual typefaces: what room for a text is."""


def width_of(text: str, size: float = USUAL) -> float:
    """Room that a text needs.

    >>> width_of("ab", 10)
    12.4
    """
    return len(text) * WIDE * size


def shortened(text: str, letters: int) -> str:
    """The text, or its ends where it is longer than ``letters``.

    >>> shortened("blocks.11.attn", 9)
    'bloc…attn'
    """
    head = (letters - 1) // 2
    return text if len(text) <= letters else f"{text[:head]}…{text[len(text) - (letters - 1 - head):]}"


class Drawing:
    """Shapes in the order in which they are added; ``label`` tells people who cannot see it what it is. Whatever text
    is given is escaped."""

    def __init__(self, width: float, height: float, label: str):
        self.width, self.height, self.label, self.parts = width, height, label, []

    def text(self, x: float, y: float, text: str, kind: str = "ink", anchor: str = "start",
             size: float = USUAL) -> None:
        """``y`` is the middle of the line."""
        self.parts.append(Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="{}" font-size="{:g}" '
                                 'dominant-baseline="central">{}</text>').format(x, y, kind, anchor, size, text))

    def rect(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "", opacity: float = 1.0,
             radius: float = 0) -> None:
        """``tip`` shows where a pointer rests on it."""
        self.parts.append(Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" rx="{:g}" class="{}"{}>{}'
                                 '</rect>').format(x, y, max(0.0, width), height, radius, kind, _opacity(opacity),
                                                   _title(tip)))

    def line(self, points: list[tuple[float, float]], kind: str) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(Markup('<polyline points="{}" class="{}"/>').format(path, kind))

    def area(self, points: list[tuple[float, float]], kind: str) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(Markup('<polygon points="{}" class="{}"/>').format(path, kind))

    def dot(self, x: float, y: float, radius: float, kind: str, tip: str = "", opacity: float = 1.0) -> None:
        self.parts.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" class="{}"{}>{}</circle>').format(
            x, y, radius, kind, _opacity(opacity), _title(tip)))

    def legend(self, x: float, y: float, entries: list[tuple[str, str]]) -> float:
        """Squares of a class with their meaning, in one line, or in several where the drawing is too narrow; the middle
        of the last line."""
        left = x
        for kind, text in entries:
            room = 18 + width_of(text, SMALL) + 14
            if left > x and left + room > self.width:
                left, y = x, y + 18
            self.rect(left, y - 5, 10, 10, kind, radius=2)
            self.text(left + 16, y, text, "muted", size=SMALL)
            left += room
        return y

    def svg(self, alone: bool = False) -> Markup:
        """The element for a page, or, ``alone``, with its style, for a file."""
        size = Markup('{:.0f}" height="{:.0f}').format(self.width, self.height) if alone else "100%"
        head = Markup('<style>{}</style><rect width="100%" height="100%" class="paper"/>').format(
            Markup(STYLE.read_text())) if alone else ""
        return Markup('<svg xmlns="http://www.w3.org/2000/svg" width="{}" viewBox="0 0 {:.0f} {:.0f}" role="img" '
                      'class="chart" aria-label="{}">{}{}</svg>').format(
                          size, self.width, self.height, self.label, head, Markup("\n").join(self.parts))

    def save(self, path: Path) -> None:
        """Write it as a file of its own, whole or not at all. Raises OSError."""
        text = self.svg(alone=True)
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _title(tip: str) -> Markup:
    return Markup("<title>{}</title>").format(tip) if tip else Markup("")


def _opacity(opacity: float) -> Markup:
    return Markup("") if opacity == 1 else Markup(f' fill-opacity="{opacity:.2f}"')
