# SPDX-License-Identifier: Apache-2.0
"""Plan of a task head for a machine: which maps stay on chip, in what strips each convolution runs, and where they lie.

Every possible plan of every convolution has a price: cycles in which the array stands still, stream and map lines that
pass the bus besides weights once, instructions. The plan of least price that fits the memories is taken.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from golden.spec.isa import LIMITS, Dest, Opcode
from golden.spec.machine import BEAT_BYTES, LINE, PARAM_LINES, MachineConfig
from golden.spec.tiling import ceil_div, linear_lines
from host.compiler.heads.shape import Conv, HeadShape
from host.compiler.heads.strips import Cuts, Job, jobs, tile_step
from host.ir.nodes import NotFitting
from host.performance.cycles import best_block, linear_pass

LINE_PRICE = 48
"""Cycles that a line through the bus may cost: a percent of a full head's cycles for a percent of its lines."""
INSTRUCTION_PRICE = 40
"""Cycles that an instruction may cost, where the program memory has room for it."""
DRAIN = 130
"""Cycles without a multiplication when the array must be empty before the next instruction."""
MOST_TILES = 32
BUFFERS = (1, 2, 4, 8)
"""Tiles of results that may be on chip together."""
_ROW_CYCLES = LINE // BEAT_BYTES
_FIELDS = {name: high for opcode in (Opcode.LINEAR, Opcode.UPSAMPLE) for name, (_, high) in LIMITS[opcode].items()}
_POSITIONS, _LINES, _COLUMNS = _FIELDS["tokens"], _FIELDS["lines"], _FIELDS["width"]


class Fate(enum.Enum):
    """What becomes of a map: it stays in operand memory, goes through DRAM, or is used up by the last convolution."""

    KEPT = "kept"
    STORED = "stored"
    CONSUMED = "consumed"


@dataclass(frozen=True)
class Room:
    """What a head may use: ``residual_rows`` for its results; ``instruction`` is the price of one, in cycles."""

    machine: MachineConfig
    residual_rows: int
    instruction: int = INSTRUCTION_PRICE


@dataclass(frozen=True)
class Level:
    """One convolution in strips: ``band`` lines and ``tile`` columns at a time, ``slots`` source lines on chip.

    ``strips``: the source comes in column strips, each as wide as a tile needs. ``buffers``: tiles of results of the
    last convolution that are on chip together; half of them are stored at a time. ``retain``: weights stay in the ring
    from the first tile to the last.
    """

    conv: Conv
    source: Fate
    result: Fate
    band: int
    tile: int
    strips: bool = False
    slots: int = 0
    buffers: int = 1
    retain: bool = False

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The tiles, in their order."""
        c = self.conv
        return tuple(jobs(c.height, c.width, c.doubled, self.band, self.tile, self.slots, self.strips))

    @cached_property
    def bands(self) -> "Cuts":
        return Cuts(self.conv.height, self.band)

    @cached_property
    def tiles(self) -> "Cuts":
        return Cuts(self.conv.width, self.tile)

    @property
    def group(self) -> int:
        """Tiles of results that are stored at a time."""
        return max(1, self.buffers // 2)

    @property
    def slot_columns(self) -> int:
        """Columns of the source that a slot holds."""
        return self.tiles.widest_source if self.strips else self.conv.source[1]

    @property
    def source_rows(self) -> int:
        return self.slots * self.slot_columns * self.conv.stride

    @property
    def enlarged_rows(self) -> int:
        """Operand rows of the largest enlarged strip."""
        return self.bands.widest * self.tiles.widest * self.conv.rows if self.conv.doubled else 0

    @property
    def buffer_rows(self) -> int:
        """Operand rows of a tile's results."""
        return self.band * self.tile * self.conv.out_stride

    @property
    def result_rows(self) -> int:
        """Operand rows of all results that are on chip together."""
        if self.result is Fate.KEPT:
            return self.conv.height * self.conv.width * self.conv.out_stride
        return (2 if self.result is Fate.STORED else 1) * self.buffer_rows

    @property
    def rows(self) -> int:
        return self.source_rows + self.enlarged_rows + self.result_rows


@dataclass(frozen=True)
class Placed:
    """A level with the operand rows where its source, enlarged strip and results begin."""

    level: Level
    source: int
    enlarged: int
    results: tuple[int, ...]


@lru_cache(maxsize=256)
def plan_head(shape: HeadShape, room: Room, what: str) -> tuple[Level, ...]:
    """The levels of a head. Raises :class:`NotFitting` with a sentence that begins with ``what`` is compiled."""
    last = len(shape.convs) - 1
    best: dict[Fate, tuple[float, tuple[Level, ...]]] = {Fate.KEPT: (0.0, ())}
    for i, conv in enumerate(shape.convs):
        found: dict[Fate, tuple[float, tuple[Level, ...]]] = {}
        for source, (before, levels) in best.items():
            for result in (Fate.KEPT, Fate.STORED) if i < last else (Fate.CONSUMED,):
                price, level = min(_levels(shape, i, source, result, room), key=lambda pair: pair[0],
                                   default=(0.0, None))
                if level is not None and (result not in found or before + price < found[result][0]):
                    found[result] = before + price, (*levels, level)
        if not found:
            m = room.machine
            raise NotFitting(
                f"{what} has no strip of {conv.name}, {conv.height} x {conv.width} positions of {conv.stride * LINE} "
                f"bytes, that fits the machine {m.name!r}: {m.operand_rows * LINE} bytes of operand memory, "
                f"{room.residual_rows * LINE} free bytes of residual memory, {m.program_depth} instructions. Take a "
                f"larger machine or fewer channels.")
        best = found
    return best[Fate.CONSUMED][1]


def place(levels: tuple[Level, ...]) -> tuple[int, list[Placed]]:
    """(operand rows of a head, where each level's maps lie): a kept result lies at the other end than its source."""
    size, low, placed = max(level.rows for level in levels), True, []
    for level in levels:
        begin, end = 0, size
        ends = {}
        for name, rows, first in (("source", level.source_rows, low),
                                  ("result", level.result_rows if level.result is Fate.KEPT else 0, not low)):
            ends[name] = begin if first else end - rows
            begin, end = (begin + rows, end) if first else (begin, end - rows)
        results = (ends["result"],)
        if level.result is not Fate.KEPT:
            first = begin + level.enlarged_rows
            results = tuple(range(first, first + level.result_rows, level.buffer_rows))
        placed.append(Placed(level, ends["source"], begin, results))
        assert begin + level.enlarged_rows + (0 if level.result is Fate.KEPT else level.result_rows) <= end
        low = not low if level.result is Fate.KEPT else True
    return size, placed


def _levels(shape: HeadShape, i: int, source: Fate, result: Fate, room: Room) -> Iterator[tuple[float, Level]]:
    """Every plan of a convolution that fits, and its price."""
    conv, m = shape.convs[i], room.machine
    weights = conv.tiles * conv.slices
    if result is Fate.CONSUMED:
        weights += shape.last_tiles * shape.last_slices
    retain = weights <= m.ring_slices
    for tile, strips in _tiles(conv, source, result, m.tm):
        for band in _bands(conv):
            level = Level(conv, source, result, band, tile, strips, retain=retain)
            if (band * tile > _POSITIONS or band > _LINES
                    or level.bands.count * level.tiles.count > m.program_depth):
                continue
            slots = _slots(level, m)
            for buffers in BUFFERS if result is Fate.CONSUMED and slots else ():
                if buffers * band * tile * shape.last_tiles <= room.residual_rows:
                    found = replace(level, slots=slots, buffers=buffers)
                    yield _level_price(found, shape, room), found
            if slots and result is not Fate.CONSUMED:
                found = replace(level, slots=slots)
                yield _level_price(found, shape, room), found


def _tiles(conv: Conv, source: Fate, result: Fate, tm: int) -> list[tuple[int, bool]]:
    """Widths of tiles, and whether the source comes in strips of that width."""
    if result is Fate.KEPT:  # its lines lie one after the other
        return [(conv.width, False)] if conv.width <= _COLUMNS else []
    widths = {tile_step(conv.width, count, unit) for count in range(1, MOST_TILES + 1) for unit in {2, tm}}
    widths = sorted(width for width in widths if width + 2 <= _COLUMNS or width == conv.width <= _COLUMNS)
    whole = [(width, False) for width in widths if conv.source[1] <= _COLUMNS]
    return whole + ([(width, True) for width in widths if width < conv.width] if source is Fate.STORED else [])


def _bands(conv: Conv) -> list[int]:
    unit = 2 if conv.doubled else 1
    return sorted({tile_step(conv.height, count, unit) for count in range(1, conv.height // unit + 1)}, reverse=True)


def _slots(level: Level, machine: MachineConfig) -> int:
    """Source lines that fit next to strip and results, 0 if they are too few."""
    conv, length = level.conv, level.conv.source[0]
    rest = machine.operand_rows - level.enlarged_rows - level.result_rows
    slots = min(length, rest // (level.slot_columns * conv.stride))
    if slots < length and (level.source is Fate.KEPT or slots <= level.bands.widest_source):
        return 0
    return max(slots, 0)


def _group_cycles(machine: MachineConfig, fields: dict) -> int:
    """Cycles of a token group of a LINEAR, in the best blocks of tiles."""
    return linear_pass(machine, fields | {"block": best_block(machine, fields)})


def _level_price(level: Level, shape: HeadShape, room: Room) -> float:
    """Cycles of the array and those it stands still, lines besides weights once, instructions."""
    conv, m, bands, tiles = level.conv, room.machine, level.bands, level.tiles
    count = instructions = bands.count * tiles.count
    cycles = count * DRAIN + conv.height * _group_cycles(
        m, {"tiles": conv.tiles, "slices": conv.slices, "src_wide": conv.planes == 2, "window": conv.rows,
            "dst": Dest.UNSIGNED8}) * sum(
        ceil_div(width, m.tm) * n for width, n in tiles.parts.items())
    parameters, weights, moved = conv.tiles * PARAM_LINES, linear_lines(conv.tiles, conv.slices), 0
    twice = (conv.source[0] - 2) // (level.slots - 1) if level.slots < conv.source[0] else 0
    if conv.doubled:
        cycles += bands.with_neighbours * tiles.with_neighbours * conv.rows
        instructions += count + twice * tiles.count
    if level.source is Fate.STORED:
        columns = conv.source[1] + (2 * tiles.count - 2 if level.strips else 0)
        lines = conv.source[0] + twice
        moved += lines * columns * conv.stride
        instructions += lines * tiles.count if level.strips else bands.count + twice
        cycles += bands.widest_source * level.slot_columns * conv.stride * _ROW_CYCLES + DRAIN
    if level.result is Fate.STORED:
        moved += conv.height * conv.width * conv.out_stride
        instructions += count if tiles.count == 1 else tiles.count * conv.height
        cycles += level.buffer_rows * _ROW_CYCLES + DRAIN
    if level.result is Fate.CONSUMED:
        groups = sum(ceil_div(lines * width, m.tm) * n * k for lines, n in bands.parts.items()
                     for width, k in tiles.parts.items())
        cycles += count * DRAIN + groups * _group_cycles(
            m, {"tiles": shape.last_tiles, "slices": shape.last_slices, "src_wide": shape.last_wide,
                "dst": Dest.RESIDUAL})
        parameters += shape.last_tiles * PARAM_LINES
        weights += linear_lines(shape.last_tiles, shape.last_slices)
        instructions += count + ceil_div(count, level.group)
        cycles += level.group * level.band * level.tile * shape.last_tiles * _ROW_CYCLES
        if level.buffers == 1:
            cycles += conv.height * conv.width * shape.last_tiles * _ROW_CYCLES + count * DRAIN
    again = (count - 1) * (parameters if level.retain else weights)
    return cycles + LINE_PRICE * (moved + again) + room.instruction * instructions
