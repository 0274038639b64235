# SPDX-License-Identifier: Apache-2.0
"""Jobs of a list of pictures: which programs run them, with as few jobs as the programs of an image allow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.spec.program.image import Image
from golden.spec.program.names import with_pictures
from host.driver.arguments import program_named
from host.driver.errors import InputError
from host.driver.layout import prepare_input


@dataclass(frozen=True)
class Job:
    """A program, and the places in a list of the pictures that it computes, one after the other."""

    program: str
    places: tuple[int, ...]


def jobs(image: Image, count: int, task: str | Sequence[str | None] | None) -> list[Job]:
    """Jobs for ``count`` pictures; ``task`` names a program for all of them, or one for each.

    Pictures of one program go together where the image has it for several at a time (``edge-moe compile --pictures``),
    in the largest groups that there are. Raises InputError for programs that there are not.
    """
    tasks = [task] * count if task is None or isinstance(task, str) else list(task)
    if len(tasks) != count:
        raise InputError(f"Each picture needs a task: there are {count} pictures and {len(tasks)} tasks.")
    wanted: dict[str, list[int]] = {}
    for place, name in enumerate(tasks):
        wanted.setdefault(program_named(image, name), []).append(place)
    found = []
    for name, places in wanted.items():
        for program, size in _sizes(image, name):
            while len(places) >= size:
                found.append(Job(program, tuple(places[:size])))
                places = places[size:]
        if places:
            raise InputError(f"The program {name!r} computes {image.pictures(name)} pictures at a time; {count} came.")
    return found


def together(image: Image, task: str) -> int:
    """How many pictures the largest of the programs takes that compute ``task``. Raises InputError for none."""
    return max(size for _, size in _sizes(image, program_named(image, task)))


def _sizes(image: Image, name: str) -> list[tuple[str, int]]:
    """Programs that compute what ``name`` computes, and on how many pictures, the most first; itself alone where it
    is for several."""
    alone = image.pictures(name)
    if alone > 1:
        return [(name, alone)]
    found = [(other, image.pictures(other)) for other in image.programs]
    return sorted([(other, size) for other, size in found if other == with_pictures(name, size)],
                  key=lambda pair: -pair[1])


def input_of(pictures: Sequence[np.ndarray], image: Image, program: str) -> bytes:
    """Input buffer of a program. Raises InputError for another number of pictures, or pictures of another kind."""
    size = image.pictures(program)
    if len(pictures) != size:
        raise InputError(f"The program {program!r} computes {size} picture{'s' * (size > 1)} at a time; "
                         f"{len(pictures)} came.")
    return b"".join(prepare_input(picture, image.input) for picture in pictures)
