# SPDX-License-Identifier: Apache-2.0
"""``edge-moe explore``: from names to a search, and the search as a table or as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from golden.model.int_model import IntModel
from golden.model.random_int_model import random_int_model
from golden.spec.boards import BOARDS, Board
from golden.spec.model import MODELS, require
from golden.spec.quantized import Plan
from host.compiler.skeleton import ModelSkeleton, skeleton
from host.explore.design_space import Geometry, roomy
from host.explore.evaluate import Point
from host.explore.pareto_front import held_by, slowed_by
from host.explore.routing import measured
from host.explore.search import Search
from host.images import fitted
from host.quantizer.crops import photograph

PLANS = ("fast", "accurate")
SEED = 1
SEEDED = "seeded weights"


def board_named(name: str) -> Board:
    """The board called ``name``. Raises ConfigError with the names there are."""
    require(name in BOARDS, f"There is no board {name!r}; there are {', '.join(BOARDS)}.")
    return BOARDS[name]


def model_named(name: str, plan: str):
    """A quantized model file, or a preset with seeded weights under ``plan``."""
    if name in MODELS:
        require(plan in PLANS, f"A preset is explored under the plan {' or '.join(PLANS)}, not {plan!r}.")
        config = MODELS[name]
        seeded = random_int_model(config, getattr(Plan, plan)(config.depth, config.task_heads), seed=SEED)
        return replace(seeded, source=SEEDED)
    require(Path(name).exists(), f"{name!r} is neither a file nor a preset; presets are {', '.join(MODELS)}.")
    return IntModel.load(Path(name))


def tasks_named(model, text: str | None) -> tuple[str, ...]:
    """``a`` or ``a+b``; the first task when none is named."""
    have = model.config.tasks
    tasks = have[:1] if text is None else tuple(text.split("+"))
    require(tasks == have or len(tasks) == 1 and tasks[0] in have,
            f"{model.config.name!r} has programs for {', '.join(have)}"
            f"{' and ' + '+'.join(have) if len(have) > 1 else ''}, not {text!r}.")
    return tasks


def skeleton_of(model, tasks: tuple[str, ...]) -> ModelSkeleton:
    """The model's skeleton, with experts hit as they are on a photograph; seeded weights would hit few, and hit all."""
    if not model.config.moe_layers or model.source == SEEDED:
        return skeleton(model)
    routes = measured(model, roomy(Geometry(4, 16, 4)), tasks, fitted(photograph("motorcycle"), model.config))
    return skeleton(model, {"+".join(tasks): routes})


def table(found: Search, title: str, most: int) -> Table:
    """The fastest ``most`` points of the front, then the project's own machines."""
    shown = Table("machine", "MAC/cycle", "cycles", "ms", "DSP", "LUT", "BRAM36", "URAM", "slowed by", "held by",
                  title=title)
    for point in found.pareto_front[:most]:
        shown.add_row(*_row(point, found))
    shown.add_section()
    for point in found.shipped:
        shown.add_row(*_row(point, found))
    return shown


def _row(point: Point, found: Search) -> tuple[str, ...]:
    slow, slow_share = slowed_by(point, found.board)
    held, held_share = held_by(point, found.board, found.fill)
    area = point.area
    return (point.machine.name, f"{point.machine.macs_per_cycle:,}", f"{point.cycles:,.0f}",
            f"{_milliseconds(point, found):.3f}", f"{area.dsp:,.0f}", f"{area.lut:,.0f}", f"{area.bram36:,.0f}",
            f"{area.uram:,.0f}",
            f"{slow} {slow_share:.0%}", f"{held} {held_share:.0%}")


def as_json(found: Search, model: str, tasks: tuple[str, ...]) -> dict:
    """Everything: the machines as ``MachineConfig`` takes them."""
    return {"model": model, "tasks": list(tasks), "board": found.board.name, "fill": found.fill,
            "explored": len(found.points), "front": [_facts(point, found) for point in found.pareto_front],
            "shipped": [_facts(point, found) for point in found.shipped]}


def rows(found: Search) -> Iterator[dict]:
    """A row a machine: those of the front, then the project's own; the machine by its fields."""
    for group, points in (("front", found.pareto_front), ("shipped", found.shipped)):
        for facts in (_facts(point, found) for point in points):
            machine = facts.pop("machine")
            yield {"group": group, "name": machine.pop("name"), **facts,
                   **{f"machine.{name}": value for name, value in machine.items()}}


def _facts(point: Point, found: Search) -> dict:
    slow, slow_share = slowed_by(point, found.board)
    held, held_share = held_by(point, found.board, found.fill)
    return {"machine": asdict(point.machine), "cycles": point.cycles,
            "milliseconds": _milliseconds(point, found), **asdict(point.area),
            "slowed_by": slow, "slowed_share": slow_share, "held_by": held, "held_share": held_share}


def _milliseconds(point: Point, found: Search) -> float:
    return point.cycles / found.board.clock_hz * 1e3
