# SPDX-License-Identifier: Apache-2.0
"""Outputs of a program: named arrays of int16 in the output buffer, their shapes, steps and layout."""

import itertools
from dataclasses import asdict, dataclass, replace
from math import prod

from golden.spec.heads import HEAD_KINDS
from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan
from golden.spec.tiling import residual_rows

FEATURES, LOGITS, KEPT = "features", "logits", "kept"
KINDS = (FEATURES, LOGITS, KEPT, *HEAD_KINDS)
"""What an output can be: the residual stream, a classifier's scores, the map of a task head, the tokens that a block
kept, by their numbers among those that the block before it had left."""


@dataclass(frozen=True)
class Output:
    """Array ``name`` of int16 values in steps of 2**-frac that the backbone pass for ``task`` over picture number
    ``picture`` leaves in the output buffer, from the 64-byte line ``offset`` on; ``kind`` is one of :data:`KINDS`.

    The last axis, channels, is filled up to whole lines of 32 values; the other axes follow in order. A map [lines,
    columns, channels] lies in ``tiles`` of (lines, columns), the last ones smaller, each as an array of its own: line
    by line of tiles, or column by column where the third number is 1. Features whose tokens lie in windows have in
    ``tiles`` the patches across a window and across the picture.
    """

    name: str
    kind: str
    task: str
    offset: int
    shape: tuple[int, ...]
    frac: int
    tiles: tuple[int, ...] = ()
    picture: int = 0

    @property
    def places(self) -> list[tuple[int, int]]:
        """First line and first column of each tile of a map, in their order."""
        (height, width, _), (lines, columns, down) = self.shape, self.tiles
        ys, xs = range(0, height, lines), range(0, width, columns)
        return [(y, x) for x in xs for y in ys] if down else [(y, x) for y in ys for x in xs]

    @property
    def lines(self) -> int:
        """64-byte lines that it takes."""
        return prod(self.shape[:-1]) * residual_rows(self.shape[-1])

    @property
    def end(self) -> int:
        return self.offset + self.lines


@dataclass(frozen=True)
class OutputBuffer:
    """Output buffer of a program: ``outputs``, and how many 64-byte ``lines`` it has, those included that the program
    uses for itself."""

    outputs: tuple[Output, ...]
    lines: int


def kept_name(layer: int) -> str:
    """Name of the output that tells which tokens block ``layer`` kept."""
    return f"kept.{layer}"


def expected(config: ModelConfig, plan: Plan, tasks: tuple[str, ...], pictures: int = 1) -> list[Output]:
    """The outputs of a program that runs ``tasks``, one after the other, each on ``pictures``; maps in one tile: the
    compiler chooses others.
    """
    (height, width), found, offset = config.grid, [], 0
    plans = dict(zip((head.task for head in config.task_heads), plan.task_heads, strict=True))
    for task, picture in itertools.product(tasks, range(pictures)):
        wanted = [(FEATURES, FEATURES, (config.last_tokens, config.dim), plan.residual_frac)]
        wanted += [(kept_name(layer), KEPT, (config.extra_tokens + count,), 0) for layer, count in config.keep]
        if config.classes and not config.pooled:
            wanted.append((LOGITS, LOGITS, (len(config.class_heads), config.classes), plan.logit_frac))
        wanted += [(head.task, head.kind, (8 * height, 8 * width, head.classes), plans[head.task].frac)
                   for head in config.heads_of(task)]
        for name, kind, shape, frac in wanted:
            windows = (config.window, width) if kind == FEATURES and config.window else ()
            tiles = (*shape[:2], 0) if kind in HEAD_KINDS else windows
            found.append(Output(name, kind, task, offset, shape, frac, tiles, picture))
            offset = found[-1].end
    return found


_TEXTS, _NUMBERS, _LISTS = ("name", "kind", "task"), ("offset", "frac", "picture"), ("shape", "tiles")


def to_json(buffer: OutputBuffer) -> dict:
    """A JSON-ready dictionary; :func:`from_json` is its inverse."""
    return {"lines": buffer.lines, "outputs": [
        {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(output).items()}
        for output in buffer.outputs]}


def from_json(data: object) -> OutputBuffer:
    """Inverse of :func:`to_json`. Raises :class:`ValueError` with a sentence for any other form."""
    if not (isinstance(data, dict) and set(data) == {"lines", "outputs"} and _count(data["lines"])
            and isinstance(data["outputs"], list)):
        raise ValueError(f"An output buffer must be a count of lines and a list of outputs, not {str(data)[:120]}.")
    for output in data["outputs"]:
        if not (isinstance(output, dict) and set(output) == {*_TEXTS, *_NUMBERS, *_LISTS}
                and all(isinstance(output[key], str) for key in _TEXTS)
                and all(_count(output[key]) for key in _NUMBERS)
                and all(isinstance(output[key], list) and all(map(_count, output[key])) for key in _LISTS)):
            raise ValueError(f"An output must give texts to {list(_TEXTS)}, counts to {list(_NUMBERS)} and lists of "
                             f"counts to {list(_LISTS)}, not {str(output)[:200]}.")
    return OutputBuffer(tuple(Output(**output | {key: tuple(output[key]) for key in _LISTS})
                              for output in data["outputs"]), data["lines"])


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 32


def problem(buffer: OutputBuffer, config: ModelConfig, plan: Plan, tasks: tuple[str, ...],
            pictures: int = 1) -> str | None:
    """What is wrong with the output buffer of a program that runs ``tasks`` on ``pictures``, a sentence, or None."""
    wanted = expected(config, plan, tasks, pictures)
    for output, other in zip(buffer.outputs, wanted, strict=False):
        least, most = ((1, 1, 0), (*other.tiles[:2], 1)) if other.kind in HEAD_KINDS else (other.tiles, other.tiles)
        if len(output.tiles) != len(most) or not all(map(_within, least, output.tiles, most)):
            return f"The tiles of output {output.name!r} must lie in {least}..{most}, not {output.tiles}."
    if [replace(output, tiles=()) for output in buffer.outputs] != [replace(output, tiles=()) for output in wanted]:
        return f"The outputs must be {[_said(output) for output in wanted]}, not {[_said(o) for o in buffer.outputs]}."
    if buffer.lines < wanted[-1].end:
        return f"The outputs take {wanted[-1].end} lines; the output buffer has {buffer.lines}."
    return None


def _within(least: int, value: int, most: int) -> bool:
    return least <= value <= most


def _said(output: Output) -> str:
    shape = " x ".join(map(str, output.shape))
    of = f"{output.task}{f', picture {output.picture}' if output.picture else ''}"
    return f"{output.name} of {of} ({output.kind}, {shape}, frac {output.frac}, line {output.offset})"
