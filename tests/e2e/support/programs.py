# SPDX-License-Identifier: Apache-2.0
"""Instruction words of an image, and the image with others."""

from copy import copy

from golden.spec.isa import INSTRUCTION_BYTES
from golden.spec.program.image import Image


def with_program(image: Image, task: str, data: bytes) -> Image:
    """The image with other bytes for ``task``, past the checks that an Image makes of itself."""
    bad = copy(image)
    object.__setattr__(bad, "programs", {**image.programs, task: data})
    return bad


def words_of(image: Image, task: str) -> list[int]:
    data = image.programs[task]
    return [int.from_bytes(data[i:i + INSTRUCTION_BYTES], "little") for i in range(0, len(data), INSTRUCTION_BYTES)]
