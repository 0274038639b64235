# SPDX-License-Identifier: Apache-2.0
"""Roofline: useful MACs a cycle over MACs a DRAM byte, under the roofs of array and memory, with labels that cannot
overlap: they stand in a column of their own, joined to their points by lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from host.performance.layers import PRODUCT_KINDS as KINDS
from host.profile.layers import Layer, total
from host.profile.svg import SMALL, Drawing, shortened, width_of

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP, LETTERS = 600, 400, 52, 30, 48, 18, 18


@dataclass(frozen=True)
class Point:
    """Layers of one kind, or one layer: MACs a byte and useful MACs a cycle; ``kind`` is the number of a colour;
    ``small``: without a label."""

    name: str
    intensity: float
    rate: float
    kind: int
    small: bool = False


def points_of(layers: Sequence[Layer]) -> list[Point]:
    """A point for each layer that multiplies, and one with a label for all layers of a kind, and for the job."""
    multiply = [layer for layer in layers if layer.macs and layer.bytes and layer.cycles]
    found = [Point(layer.name, layer.macs / layer.bytes, layer.macs / layer.cycles, KINDS.index(layer.kind), True)
             for layer in multiply]
    for kind in KINDS:
        whole = total([layer for layer in multiply if layer.kind == kind])
        if whole.macs:
            found.append(Point(kind, whole.macs / whole.bytes, whole.macs / whole.cycles, KINDS.index(kind)))
    whole = total(layers)
    return [*found, Point("whole job", whole.macs / whole.bytes, whole.macs / whole.cycles, len(KINDS))]


def ticks(low: float, high: float) -> list[float]:
    """Powers of ten and multiples of them within the bounds, as many as stay apart.

    >>> ticks(3, 900), ticks(0.5, 20_000)[:3], ticks(700, 2000)
    ([5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0], [1.0, 10.0, 100.0], [800.0, 1000.0, 1500.0, 2000.0])
    """
    powers, decades = range(floor(log10(low)), ceil(log10(high)) + 1), log10(high / low)
    steps = ("1", "1.5", "2", "3", "4", "6", "8") if decades < 1 else ("1", "2", "5") if decades < 3 else ("1",)
    return [float(f"{step}e{power}") for power in powers for step in steps if low <= float(f"{step}e{power}") <= high]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places in their order, at least ``gap`` apart, as near to the wanted ones as one pass from either end puts them,
    between ``low`` and ``high`` where they have room there.

    >>> spread([10, 12, 13], 5, 0, 16)
    [6.0, 11.0, 16.0]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    found, least = [0.0] * len(places), low
    for index in order:
        least = found[index] = max(least, float(places[index]))
        least += gap
    most = float(high)
    for index in reversed(order):
        most = found[index] = min(found[index], most)
        most -= gap
    return found


def roofline(points: Sequence[Point], peak: float, bytes_per_cycle: float) -> Drawing:
    """``peak``: MACs a cycle that the array can make; ``bytes_per_cycle`` what memory delivers."""
    drawing = Drawing(WIDTH, HEIGHT, "roofline")
    labelled = [point for point in points if not point.small]
    names = [f"{shortened(point.name, LETTERS)}  {point.rate:,.0f}" for point in labelled]
    right = WIDTH - max((width_of(name) for name in names), default=0) - 36
    ridge, bottom = peak / bytes_per_cycle, HEIGHT - BOTTOM
    spans = [point.intensity for point in points] + [ridge]
    low, high = min(spans) / 2, max(spans) * 2
    least, most = min([*(point.rate for point in points), peak / 2]) / 2, peak * 1.5

    def x(value: float) -> float:
        return LEFT + (right - LEFT) * log10(value / low) / log10(high / low)

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * log10(value / least) / log10(most / least)

    start = max(low, least / bytes_per_cycle)
    roof = [(x(start), y(start * bytes_per_cycle)), (x(ridge), y(peak)), (right, y(peak))]
    drawing.area([*roof, (right, bottom), (roof[0][0], bottom)], "under")
    for tick in ticks(low, high):
        drawing.line([(x(tick), TOP), (x(tick), bottom)], "rule")
        drawing.text(x(tick), bottom + 14, f"{tick:,g}", "muted", "middle", SMALL)
    for tick in ticks(least, most):
        drawing.line([(LEFT, y(tick)), (right, y(tick))], "rule")
        drawing.text(LEFT - 8, y(tick), f"{tick:,g}", "muted", "end", SMALL)
    drawing.line(roof, "roof")
    drawing.text(LEFT, 10, f"useful MACs a cycle; roof: {peak:,.0f}, or memory's {bytes_per_cycle:.4g} bytes a cycle",
                 "muted", size=SMALL)
    drawing.text((LEFT + right) / 2, HEIGHT - 12, "MACs a DRAM byte", "muted", "middle", SMALL)
    for place, point, name in zip(spread([y(point.rate) for point in labelled], GAP, TOP + 8, bottom - 8), labelled,
                                  names, strict=True):
        drawing.line([(x(point.intensity), y(point.rate)), (right + 4, place), (right + 12, place)], "leader")
        drawing.text(right + 16, place, name)
    for point in sorted(points, key=lambda point: (not point.small, -point.kind)):
        attainable = min(peak, point.intensity * bytes_per_cycle)
        tip = (f"{point.name}: {point.rate:,.1f} MACs a cycle, {point.rate / attainable:.1%} of what is attainable at "
               f"{point.intensity:,.1f} MACs a byte")
        drawing.dot(x(point.intensity), y(point.rate), 3.5 if point.small else 6.5, f"kind{point.kind}", tip,
                    0.6 if point.small else 1.0)
    return drawing
