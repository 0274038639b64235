# SPDX-License-Identifier: Apache-2.0
"""How images and results lie in the input and output buffers of a program image."""

import numpy as np

from golden.spec.model import PATCH_AXES
from host.driver.errors import InputError


def prepare_input(image: np.ndarray, layout: dict) -> bytes:
    """uint8 ``[height, width, channels]`` -> the input buffer described by ``Image.input``.

    Patch after patch, row by row over the image; a patch's bytes ordered channel, row, column, zero-filled to whole
    64-byte rows. Raises :class:`InputError` for another shape or type.
    """
    height, width, channels, p = (layout[key] for key in ("height", "width", "channels", "patch"))
    wanted = (height, width, channels)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != wanted:
        came = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"The program wants a uint8 image of shape {wanted} (height, width, channels); "
                         f"{came} came. Resize or convert it.")
    rows, columns = height // p, width // p
    patches = image.reshape(rows, p, columns, p, channels).transpose(PATCH_AXES).reshape(rows * columns, -1)
    buffer = np.zeros((rows * columns, layout["rows"] * layout["row_bytes"]), np.uint8)
    buffer[:, :patches.shape[1]] = patches
    return buffer.tobytes()


def read_output(data: bytes, layout: dict, task: int = 0) -> np.ndarray:
    """The residual stream int16 ``[tokens, dim]`` (step ``2**-frac``) of the ``task``-th task of a program."""
    part = _part(data, layout, task)
    stream = np.frombuffer(part, "<i2")[:layout["tokens"] * layout["rows"] * 32]
    return stream.reshape(layout["tokens"], -1)[:, :layout["dim"]].astype(np.int16)


def read_logits(data: bytes, layout: dict, task: int = 0) -> np.ndarray:
    """Class scores int16 ``[heads, classes]`` (step ``2**-frac``). Raises :class:`InputError` without a classifier."""
    if not layout["classes"]:
        raise InputError("This program has no classifier head.")
    rows = np.frombuffer(_part(data, layout, task), "<i2")[layout["head_offset"] * 32:]
    return rows.reshape(layout["heads"], -1)[:, :layout["classes"]].astype(np.int16)


def _part(data: bytes, layout: dict, task: int) -> bytes:
    size = layout["bytes"]
    if len(data) < (task + 1) * size:
        raise InputError(f"The output of task {task} ends at byte {(task + 1) * size}; the buffer has {len(data)}.")
    return data[task * size:(task + 1) * size]
