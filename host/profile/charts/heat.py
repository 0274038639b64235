# SPDX-License-Identifier: Apache-2.0
"""Heat maps: tokens of each expert by layer and task; headroom of each tensor by stage and block."""

from collections.abc import Mapping, Sequence
from math import isinf

from host.profile.ranges import Range
from host.profile.svg import SMALL, Drawing, shortened, width_of

WIDTH, WIDE, ROW, LETTERS = 600, 1080, 24, 20
LEAST_WITH_TEXT = 18
"""Least width of a cell that holds a number."""
STRONG = 0.7
"""Strength of a colour from which on its text has the colour of the paper."""
ENOUGH_BITS, MANY_CLIPPED = 4.0, 0.01
"""Bits of headroom, and share of clipped values, at which a cell has its full colour."""


def expert_load(load: Mapping[str, Sequence[int]]) -> Drawing:
    """``load[row][expert]``: tokens; a row is a MoE layer, or a layer and task."""
    experts = max(map(len, load.values()))
    left = 12 + width_of("x" * min(LETTERS, max(map(len, load))))
    right = WIDTH - width_of("16 of 16, 100 to 900", SMALL) - 8
    cell, top = (right - left) / experts, 40
    drawing = Drawing(WIDTH, top + ROW * len(load) + 6, "tokens of each expert")
    drawing.text(left, 10, "expert", "muted", size=SMALL)
    drawing.text(WIDTH - 2, 26, "experts hit, tokens", "muted", "end", SMALL)
    every = 1 if cell >= LEAST_WITH_TEXT else 4 if cell >= 9 else 8
    for expert in range(0, experts, every):
        drawing.text(left + (expert + 0.5) * cell, 26, str(expert), "muted", "middle", SMALL)
    most = max(max(tokens) for tokens in load.values()) or 1
    for number, (name, tokens) in enumerate(load.items()):
        y = top + number * ROW
        drawing.text(left - 8, y + ROW / 2, shortened(name, LETTERS), anchor="end")
        for expert, count in enumerate(tokens):
            tip = f"{name}, expert {expert}: {count} tokens"
            drawing.rect(left + expert * cell + 1, y + 1, cell - 2, ROW - 2, "faint", tip, radius=2)
            drawing.rect(left + expert * cell + 1, y + 1, cell - 2, ROW - 2, "heat", tip, count / most, radius=2)
            if width_of(str(count), SMALL) < cell - 2:
                drawing.text(left + (expert + 0.5) * cell, y + ROW / 2, str(count),
                             "on-heat" if count / most > STRONG else "ink", "middle", SMALL)
        hit = [count for count in tokens if count]
        drawing.text(WIDTH - 2, y + ROW / 2, f"{len(hit)} of {len(tokens)}, {min(hit, default=0)} to {max(tokens)}",
                     "muted", "end", SMALL)
    return drawing


def headroom(ranges: Sequence[Range]) -> Drawing:
    """A row a stage, a column a part of the network: bits by which the values could grow, or the share of them that was
    clipped."""
    parts = list(dict.fromkeys(entry.part for entry in ranges))
    stages = list(dict.fromkeys(entry.stage for entry in ranges))
    cells = {(entry.stage, entry.part): entry for entry in ranges}
    forms = {stage: ", ".join(dict.fromkeys(entry.form for entry in ranges if entry.stage == stage))
             for stage in stages}
    left, top = 16 + width_of("x" * max(len(f"{stage}  {forms[stage]}") for stage in stages), SMALL), 44
    cell = min(64.0, (WIDE - 8 - left) / len(parts))
    drawing = Drawing(WIDE, top + 22 * len(stages) + 8, "headroom of each tensor, in bits")
    drawing.legend(left, 8, [("good", f"headroom in bits, {ENOUGH_BITS:g} or more"),
                                   ("low", f"values clipped, {MANY_CLIPPED:.0%} or more")])
    for column, part in enumerate(parts):
        short = part.removeprefix("blocks.").removeprefix("heads.").replace("classifier", "classes")
        letters = max(2, int(cell / width_of("x", SMALL)))
        drawing.text(left + (column + 0.5) * cell, 32, shortened(short, letters), "muted", "middle", SMALL)
    for row, stage in enumerate(stages):
        y = top + row * 22
        drawing.text(left - 8, y + 11, f"{stage}  {forms[stage]}", anchor="end", size=SMALL)
        for column, part in enumerate(parts):
            entry = cells.get((stage, part))
            if entry is not None:
                _cell(drawing, left + column * cell, y, cell, entry)
    return drawing


def _cell(drawing: Drawing, x: float, y: float, width: float, entry: Range) -> None:
    bits, clipped = entry.headroom, entry.clipped > 0
    tip = (f"{entry.part} {entry.stage}: {entry.low:,} to {entry.high:,} of {entry.limits[0]:,} to "
           f"{entry.limits[1]:,} ({entry.form}); {entry.clipped:,} of {entry.seen:,} values clipped")
    kind, full = ("low", entry.share / MANY_CLIPPED) if clipped else ("good", bits / ENOUGH_BITS)
    strength = 0.15 + 0.6 * min(1.0, full)
    drawing.rect(x + 1, y + 1, width - 2, 20, "faint", radius=2)
    drawing.rect(x + 1, y + 1, width - 2, 20, kind, tip, strength, radius=2)
    share = f"{entry.share:.2%}" if entry.share >= 1e-4 else "<0.01%"
    text = share if clipped else "" if isinf(bits) else f"{bits:.1f}"
    if width_of(text, SMALL) < width - 2:
        drawing.text(x + width / 2, y + 11, text, "on-heat" if strength > STRONG else "ink", "middle", SMALL)
