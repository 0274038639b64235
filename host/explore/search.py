# SPDX-License-Identifier: Apache-2.0
"""The search: every candidate of a board, the front of those that fit, the project's own machine next to them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from golden.spec.boards import BOARD_OF, BOARDS, Board
from golden.spec.machine import MACHINES
from golden.spec.model import require
from host.compiler.compile import plan_program
from host.compiler.skeleton import ModelSkeleton
from host.compiler.weight_stream import Stream
from host.explore.area import Area
from host.explore.design_space import geometries
from host.explore.errors import NothingFits
from host.explore.evaluate import RESOURCES, Point, evaluate, explore_geometry
from host.explore.pareto_front import front
from host.ir.nodes import NotFitting
from host.parallel_map import parallel_map


@dataclass(frozen=True)
class Search:
    """``points``: all that fit, as found; ``front``: the best of them, fastest first; ``shipped``: the machines of
    ``golden.spec.machine`` for this board that hold the model, whether or not they keep to the fill."""

    board: Board
    fill: float
    points: list[Point]
    pareto_front: list[Point]
    shipped: list[Point]


def search(model: ModelSkeleton, tasks: tuple[str, ...], board: Board, fill: float = 0.7, *,
           scheduler: str | None = None,
          workers: int | None = None, report: Callable[[int, int], None] = lambda done, total: None) -> Search:
    """Explore ``board``, of which each resource may be filled to ``fill``. The same arguments give the same result.

    Raises :class:`NothingFits`.
    """
    require(0 < fill <= 1, f"fill must be in (0, 1], not {fill}.")
    work = partial(explore_geometry, model, tasks, board, fill)
    found = parallel_map(work, geometries(board), scheduler=scheduler, workers=workers, report=report)
    points = [point for part, _ in found for point in part]
    if not points:
        raise NothingFits(_why(model, board, fill, [least for _, least in found if least is not None]))
    return Search(board, fill, points, front(points), _shipped(model, tasks, board))


def _shipped(model: ModelSkeleton, tasks: tuple[str, ...], board: Board) -> list[Point]:
    found = []
    for machine in MACHINES.values():
        if BOARDS[BOARD_OF[machine.name]].name != board.name:
            continue
        try:
            nodes = plan_program(model, machine, Stream(), tasks)
        except NotFitting:
            continue
        found.append(evaluate(model, tasks, board, machine, nodes))
    return found


def _why(model: ModelSkeleton, board: Board, fill: float, least: list[Area]) -> str:
    name = model.config.name
    if not least:
        return f"No machine that can be configured holds {name!r}: its image or its layers are too large."
    closest = min(least, key=lambda area: max(_short(area, board, fill).values()))
    what, times = max(_short(closest, board, fill).items(), key=lambda pair: pair[1])
    need, have = getattr(closest, RESOURCES[what]), getattr(board, RESOURCES[what])
    return (f"No machine for {name!r} fits {board.name} filled to {fill:.0%}: the closest takes {need:,.0f} {what} of "
            f"{fill * have:,.0f} ({times:.2f} times as many). Allow more with --fill, or take a smaller model or "
            f"a larger board.")


def _short(area: Area, board: Board, fill: float) -> dict[str, float]:
    return {name: getattr(area, field) / (fill * getattr(board, field)) for name, field in RESOURCES.items()}
