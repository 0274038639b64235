# SPDX-License-Identifier: Apache-2.0
"""How images and results lie in the input and output buffers of a program image."""

import numpy as np

from golden.spec.machine import LINE, PAGE
from golden.spec.model import PATCH_AXES
from golden.spec.program.image import Image
from golden.spec.program.outputs import FEATURES, Output
from golden.spec.tiling import ceil_div
from host.driver.errors import InputError

VALUES = LINE // 2
"""Values of a line of the output buffer."""


def pages(size: int) -> int:
    """``size`` in whole pages, at least one."""
    return max(1, ceil_div(size, PAGE)) * PAGE


def padded(data: bytes) -> bytes:
    """``data`` in whole pages."""
    return data.ljust(pages(len(data)), b"\0")


def most_input(image: Image) -> int:
    """Bytes of the input buffer of the program with the most pictures."""
    return max(image.input_bytes(name) for name in image.programs)


def memory_need(image: Image) -> tuple[int, int, int]:
    """Bytes of device memory that a program needs: programs, tables and input; output; weight planes."""
    readable = (*map(len, image.programs.values()), len(image.tables), most_input(image))
    return (sum(map(pages, readable)), pages(max(image.output_bytes(task) for task in image.programs)),
            sum(pages(len(plane)) for plane in image.planes))


def readable_of(image: Image) -> tuple[bytes, dict[str, int], int, int]:
    """What the machine reads besides weights, and the offsets in it of programs, tables and input buffer."""
    programs, data = {}, b""
    for task, words in image.programs.items():
        programs[task] = len(data)
        data += padded(words)
    tables = len(data)
    data += padded(image.tables)
    return data + bytes(pages(most_input(image))), programs, tables, len(data)


def prepare_input(image: np.ndarray, layout: dict) -> bytes:
    """uint8 ``[height, width, channels]`` -> the input buffer described by ``Image.input``.

    Patch after patch, row by row over the image, or over one window after the other; a patch's bytes ordered
    channel, row, column, zero-filled to whole 64-byte rows. Raises :class:`InputError` for another shape or type.
    """
    height, width, channels, p = (layout[key] for key in ("height", "width", "channels", "patch"))
    wanted = (height, width, channels)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != wanted:
        came = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"The program wants a uint8 image of shape {wanted} (height, width, channels); "
                         f"{came} came. Resize or convert it.")
    rows, columns = height // p, width // p
    patches = image.reshape(rows, p, columns, p, channels).transpose(PATCH_AXES).reshape(rows * columns, -1)
    if side := layout["window"]:
        patches = patches.reshape(rows // side, side, columns // side, side, -1).swapaxes(1, 2).reshape(patches.shape)
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
    if output.kind == FEATURES and output.tiles:
        side, columns = output.tiles
        found = values.reshape(-1, columns // side, side, side, values.size // output.shape[0])
        return found.swapaxes(1, 2).reshape(output.shape[0], -1)[:, :channels].astype(np.int16)
    if not output.tiles:
        return values.reshape(*outer, -1)[..., :channels].astype(np.int16)
    result, (height, width, _), (lines, columns, _) = np.zeros(output.shape, np.int16), output.shape, output.tiles
    first, values = 0, values.reshape(height * width, -1)[:, :channels]
    for y, x in output.places:
        here = min(lines, height - y), min(columns, width - x)
        count = here[0] * here[1]
        result[y:y + here[0], x:x + here[1]] = values[first:first + count].reshape(*here, channels)
        first += count
    return result


def find(outputs: tuple[Output, ...], name: str, task: str | None = None) -> Output:
    """The output called ``name`` (of ``task``, or the first one). Raises :class:`InputError` where there is none."""
    for output in outputs:
        if output.name == name and task in (None, output.task):
            return output
    raise InputError(f"This program has the outputs {', '.join(output.name for output in outputs)}, not {name!r}"
                     f"{'' if task is None else f' of task {task!r}'}.")
