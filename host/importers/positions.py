# SPDX-License-Identifier: Apache-2.0
"""Positional embeddings: which rows belong to extra tokens, the grid of the others, and their resizing."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from golden.files.errors import AmbiguousModel, MissingTensor, WrongShape
from host.importers.options import Options

Grid = tuple[int, int]


@dataclass(frozen=True)
class Positions:
    """A positional embedding as the file has it: ``rows`` [P, D], of which the first ``extra`` are those of extra
    tokens, the others those of ``grid`` patches, row by row.
    """

    rows: np.ndarray
    extra: int
    grid: Grid


def split(rows: np.ndarray, extras: Iterable[int], patch: int, options: Options,
          known_images: Iterable[Grid] = ()) -> Positions:
    """The positional embedding [P, D] of images whose patches have ``patch`` pixels a side.

    ``extras`` are the counts of leading rows that the layout may have for extra tokens, ``known_images`` image sizes
    of published models. The grid is that of ``source_image``, else the only one that a square image, a known image
    (turned, too, where the image wanted is not given) or the image wanted explains. Raises :class:`AmbiguousModel`
    where there is none, or more than one.
    """
    extras, sizes = list(dict.fromkeys(extras)), [(h // patch, w // patch) for h, w in known_images]
    if len(rows) <= min(1, max(extras)):
        raise WrongShape(f"'pos_embed' must have more rows than the {max(extras)} extra tokens, not {len(rows)}.")
    if options.source_image:
        grid = options.source_image[0] // patch, options.source_image[1] // patch
        for extra in extras:
            if len(rows) - extra == grid[0] * grid[1]:
                return Positions(rows, extra, grid)
        raise WrongShape(f"A {options.source_image[0]} x {options.source_image[1]} image has {grid[0] * grid[1]} "
                         f"patches of {patch} x {patch}; the checkpoint's 'pos_embed' has {_counts(rows, extras)}.")
    if not options.image:
        sizes += [(columns, rows) for rows, columns in sizes]  # a count of patches cannot tell which side is up
    found = {(extra, grid) for extra in extras for grid in [*sizes, _square(len(rows) - extra)]
             if grid is not None and grid[0] * grid[1] == len(rows) - extra > 0}
    if options.image:
        wanted = options.image[0] // patch, options.image[1] // patch
        found |= {(extra, wanted) for extra in extras if len(rows) - extra == wanted[0] * wanted[1]}
    if len(found) == 1:
        extra, grid = found.pop()
        return Positions(rows, extra, grid)
    if found:
        ways = " or ".join(f"{grid[0] * patch} x {grid[1] * patch}" for _, grid in sorted(found))
        option = "source_image" if options.image else "image"
        raise AmbiguousModel(f"The checkpoint's positions may be those of images of {ways}: give "
                             f"--{option.replace('_', '-')} ({option}=... in Python), the size it was trained for.")
    if extras == [0] and _square(len(rows) - 1):
        raise MissingTensor(f"The positions are those of {len(rows)} tokens, one more than a square of patches, and "
                            f"there is no 'cls_token'. Was it left out of the file? Else give --source-image.")
    option = "source_image" if options.image else "image"
    wanted = ", and those wanted are others" * bool(options.image)
    raise AmbiguousModel(f"The checkpoint does not tell the height and width of its {_counts(rows, extras)} "
                         f"patches{wanted}: give --{option.replace('_', '-')} ({option}=... in Python).")


def extra_rows(tokens: list[np.ndarray], names: list[str], positions: Positions) -> np.ndarray:
    """Rows [extra tokens, D]: each token plus its position where it has one; a position alone is a sum already."""
    dim = positions.rows.shape[1]
    if not tokens:
        return positions.rows[:positions.extra]
    for token, name in zip(tokens, names, strict=True):
        if token.size == 0 or token.shape[-1:] != (dim,) or name != "reg_token" and token.size != dim:
            raise WrongShape(f"{name!r} must hold {dim} values{' a token' * (name == 'reg_token')}, not {token.shape}.")
    rows = np.concatenate([token.reshape(-1, dim) for token in tokens])
    rows[:positions.extra] += positions.rows[:positions.extra]
    return rows


def _square(patches: int) -> Grid | None:
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None


def _counts(rows: np.ndarray, extras: list[int]) -> str:
    return " or ".join(str(len(rows) - extra) for extra in extras)
