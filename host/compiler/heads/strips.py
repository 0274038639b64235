# SPDX-License-Identifier: Apache-2.0
"""Strips of a map: which lines and columns a convolution takes at a time, from which source lines, and where these lie.

A convolution's result map is computed in bands of lines, each band in tiles of columns. ::

    band of lines (height even)        a tile's source, if it is enlarged first: half as large, one position more on
    +-------+-------+-------+          each side that is not an edge of the map
    | tile  | tile  | tile  |
    +-------+-------+-------+          source lines in slots 0 .. n-1: line t in slot t % (n-1), and the last line of a
    | tile  | ...                      turn in slot n-1 too, so that neighbours in the map are neighbours in the memory

All functions are pure arithmetic.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from golden.spec.isa import Edge
from golden.spec.tiling import ceil_div


@dataclass(frozen=True)
class Span:
    """Lines or columns [first, end) of a map."""

    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first


def cut(length: int, step: int) -> list[Span]:
    """``length`` lines or columns in parts of ``step``, the last one shorter."""
    return [Span(first, min(first + step, length)) for first in range(0, length, step)]


def tile_step(width: int, count: int, unit: int) -> int:
    """Columns of a tile when a line is cut into about ``count``: a multiple of ``unit``, or all of the line."""
    return min(width, ceil_div(ceil_div(width, count), unit) * unit)


def around(part: Span, length: int) -> Span:
    """``part`` of ``length`` lines with the neighbours that the windows of its positions reach."""
    return Span(max(part.first - 1, 0), min(part.end + 1, length))


def halved(part: Span, length: int) -> Span:
    """Lines of the source, ``length`` long, that enlarge to ``part`` (even borders) and its neighbours."""
    return Span(max(part.first // 2 - 1, 0), min(part.end // 2 + 1, length))


def edges(lines: Span, columns: Span, height: int, width: int) -> int:
    """Edge bits of a strip of a map of ``height`` x ``width``."""
    return ((Edge.TOP if lines.first == 0 else 0) | (Edge.BOTTOM if lines.end == height else 0)
            | (Edge.LEFT if columns.first == 0 else 0) | (Edge.RIGHT if columns.end == width else 0))


@dataclass(frozen=True)
class Cuts:
    """Lines or columns of a map, ``length``, in parts of ``step``: sums over all parts."""

    length: int
    step: int

    @property
    def count(self) -> int:
        return ceil_div(self.length, self.step)

    @property
    def parts(self) -> dict[int, int]:
        """How often each length of a part occurs."""
        last = self.length - (self.count - 1) * self.step
        return {self.step: self.count} if last == self.step else {self.step: self.count - 1, last: 1}

    @property
    def widest(self) -> int:
        """Most lines of a part with its neighbours."""
        return max(len(around(part, self.length)) for part in self._first)

    @property
    def with_neighbours(self) -> int:
        """Lines of all parts, each with its neighbours."""
        return self.length + 2 * self.count - 2

    @property
    def widest_source(self) -> int:
        """Most lines that a part takes of a source of half the length."""
        return max(len(halved(part, self.length // 2)) for part in self._first)

    @property
    def _first(self) -> list[Span]:
        """The first three parts: no other one is larger."""
        return [Span(first, min(first + self.step, self.length))
                for first in range(0, min(self.length, 3 * self.step), self.step)]


@dataclass(frozen=True)
class Lines:
    """Source lines from ``first`` on that follow each other in the slots from ``slot`` on."""

    first: int
    count: int
    slot: int


def in_slots(wanted: Span, slots: int, length: int) -> list[Lines]:
    """Where the lines ``wanted`` of a source of ``length`` lines lie: one run, or two that share a line, which lies in
    the last slot and in slot 0. Each run has at least two lines, if ``wanted`` has.
    """
    if slots >= length:
        return [Lines(wanted.first, len(wanted), wanted.first)]
    turn, slot = divmod(wanted.first, slots - 1)
    shared = (turn + 1) * (slots - 1)
    if wanted.end <= shared + 1:
        return [Lines(wanted.first, len(wanted), slot)]
    return [Lines(wanted.first, shared + 1 - wanted.first, slot), Lines(shared, wanted.end - shared, 0)]


def to_load(parts: list[Lines], held: dict[int, int]) -> list[Lines]:
    """What must be loaded so that ``parts`` are in their slots; ``held``, slot -> line, is brought up to date."""
    loads: list[Lines] = []
    for part in parts:
        for i in range(part.count):
            line, slot = part.first + i, part.slot + i
            if held.get(slot) == line:
                continue
            held[slot] = line
            last = loads[-1] if loads else None
            if last and last.first + last.count == line and last.slot + last.count == slot:
                loads[-1] = Lines(last.first, last.count + 1, last.slot)
            else:
                loads.append(Lines(line, 1, slot))
    return loads


@dataclass(frozen=True)
class Job:
    """One tile of a convolution: result ``lines`` and ``columns``; ``source`` lines and columns that it needs, of an
    enlarged one with neighbours; ``parts``: where the source lines lie; ``loads``: what must be loaded before;
    ``stored``: columns of the source that are loaded, which is all of it except where it is cut into column strips;
    ``edges`` of the strip around the tile.
    """

    lines: Span
    columns: Span
    source_lines: Span
    source_columns: Span
    stored: Span
    parts: tuple[Lines, ...]
    loads: tuple[Lines, ...]
    edges: int

    @property
    def positions(self) -> int:
        return len(self.lines) * len(self.columns)


def jobs(height: int, width: int, doubled: bool, band: int, tile: int, slots: int, strips: bool) -> Iterator[Job]:
    """Tiles of a result map of ``height`` x ``width``, ``band`` lines and ``tile`` columns each, in their order: band
    after band; with ``strips`` one column of tiles after the other, each with the source columns it needs.

    ``doubled``: the source has half the height and width. ``slots``: source lines that are on chip; all of them where
    there are as many.
    """
    scale = 2 if doubled else 1
    length, reach = height // scale, halved if doubled else around
    tiles, bands = cut(width, tile), cut(height, band)
    for row in ([columns] for columns in tiles) if strips else [tiles]:
        stored = Span(reach(row[0], width // scale).first, reach(row[-1], width // scale).end)
        held: dict[int, int] = {}
        for lines in bands:
            wanted = reach(lines, length)
            parts = in_slots(wanted, slots, length)
            loads = to_load(parts, held)
            for columns in row:
                yield Job(lines, columns, wanted, reach(columns, width // scale), stored, tuple(parts), tuple(loads),
                          edges(lines, columns, height, width))
                loads = []
