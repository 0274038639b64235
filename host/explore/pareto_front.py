# SPDX-License-Identifier: Apache-2.0
"""The Pareto front, and what limits each of its points."""

from golden.spec.boards import Board
from host.explore.evaluate import RESOURCES, Point


def dominates(a: Point, b: Point) -> bool:
    """``a`` is nowhere worse than ``b`` and somewhere better."""
    return a.costs != b.costs and all(x <= y for x, y in zip(a.costs, b.costs, strict=True))


def front(points: list[Point]) -> list[Point]:
    """Points that no other dominates, fastest first; of equals the one named first."""
    best: list[Point] = []
    seen = set()
    for point in sorted(points, key=lambda p: (p.costs, p.machine.name)):
        if point.costs not in seen and not any(dominates(other, point) for other in best):
            best.append(point)
            seen.add(point.costs)
    return best


def slowed_by(point: Point, board: Board) -> tuple[str, float]:
    """What most of the frame goes to, and its share: the array, weights from DRAM or through the ports, or the order
    in which units depend on each other."""
    starved = "DRAM" if point.machine.weight_bytes_per_cycle >= board.dram_bytes_per_cycle else "weight ports"
    parts = {"array": point.array, starved: point.weights, "order": point.cycles - point.array - point.weights}
    name, cycles = max(parts.items(), key=lambda part: part[1])
    return name, cycles / point.cycles


def held_by(point: Point, board: Board, fill: float) -> tuple[str, float]:
    """The resource of which it takes most, and how much of what ``fill`` leaves."""
    shares = {name: getattr(point.area, field) / (fill * getattr(board, field)) for name, field in RESOURCES.items()}
    return max(shares.items(), key=lambda share: share[1])
