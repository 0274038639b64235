# SPDX-License-Identifier: Apache-2.0
"""How images and results lie in the input and output buffers of a program image."""

import numpy as np

from golden.spec.machine import LINE
from golden.spec.outputs import Output
from host.driver.errors import InputError

VALUES = LINE // 2
"""Values of a line of the output buffer."""


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
    patches = image.reshape(rows, p, columns, p, channels).transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1)
    buffer = np.zeros((rows * columns, layout["rows"] * layout["row_bytes"]), np.uint8)
    buffer[:, :patches.shape[1]] = patches
    return buffer.tobytes()


def read_output(data: bytes, output: Output) -> np.ndarray:
    """A result of a program, int16 of ``output.shape`` in steps of 2**-frac, from the output buffer ``data``.

    Raises :class:`InputError` for a buffer that is too short.
    """
    if len(data) < output.end * LINE:
        raise InputError(f"The output {output.name!r} ends at byte {output.end * LINE}; the buffer has {len(data)}.")
    values = np.frombuffer(data, "<i2", output.lines * VALUES, output.offset * LINE)
    *outer, channels = output.shape
    if not output.strips:
        return values.reshape(*outer, -1)[..., :channels].astype(np.int16)
    parts = np.split(values.reshape(output.shape[0] * output.shape[1], -1),
                     np.cumsum([output.shape[0] * width for width in output.strips])[:-1])
    return np.concatenate([part.reshape(output.shape[0], width, -1)[..., :channels] for part, width
                           in zip(parts, output.strips, strict=True)], axis=1).astype(np.int16)


def find(outputs: tuple[Output, ...], name: str, task: str | None = None) -> Output:
    """The output called ``name`` (of ``task``, or the first one). Raises :class:`InputError` where there is none."""
    for output in outputs:
        if output.name == name and task in (None, output.task):
            return output
    raise InputError(f"This program has the outputs {', '.join(output.name for output in outputs)}, not {name!r}"
                     f"{'' if task is None else f' of task {task!r}'}.")
