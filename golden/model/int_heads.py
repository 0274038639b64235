# SPDX-License-Identifier: Apache-2.0
"""Integer reference of a task head: norm of the patch tokens, convolutions of unsigned maps, enlargements by 2."""

from dataclasses import replace

import numpy as np

from golden.model.int_forward import Forward
from golden.ops.epilogue import Epilogue, epilogue, to_residual, to_unsigned
from golden.ops.layernorm import Norm, layernorm
from golden.ops.matmul import matmul
from golden.ops.operand import Operand, to_operand
from golden.ops.upsample import doubled, upsample
from golden.ops.window import window_weight, windows
from golden.spec.activations import ACTIVATIONS
from golden.spec.heads import ENLARGED_PARTS_LOG2, RELU_SHIFT2, UPSAMPLED, WINDOWS, HeadConfig
from golden.spec.isa import Edge
from golden.spec.machine import LINE
from golden.spec.quantized import HeadPlan

POSITIONS = 2048
"""Positions whose windows are multiplied at a time, to limit memory."""


def run_head(forward: Forward, head: HeadConfig, x: np.ndarray) -> np.ndarray:
    """Result int16 [8 h, 8 w, classes], step 2**-frac of the head's plan, of a residual stream int16 [N, D] of a token
    grid h x w.
    """
    c, name = forward.config, f"heads.{head.task}"
    plan = forward.plan.task_heads[c.task_heads.index(head)]
    (lines, width), t = c.grid, forward.tensors
    with forward.saturation.at(f"{name}.norm"):
        grid, _ = layernorm(x[c.extra_tokens:], Norm(
            gain=t[f"{name}.norm.gain"], offset=t[f"{name}.norm.offset"], shift=int(t[f"{name}.norm.shift"]),
            eps=int(t[f"{name}.norm.eps"]), normalized_shift=int(t[f"{name}.norm.normalized_shift"]), wide=plan.norm))
    forward.see(f"{name}.norm", grid)
    for layer in range(WINDOWS):
        conv = f"{name}.conv_{layer}"
        wide = plan.last and layer == WINDOWS - 1
        with forward.saturation.at(conv):
            v = convolve(grid, t[f"{conv}.weight"], _record(forward, conv, wide), lines, width)
            grid = to_operand(v, True) if wide else to_unsigned(v)
        forward.see(conv, grid)
        if UPSAMPLED[layer]:
            up = upsample(grid.bytes.reshape(lines, width, -1), sum(Edge))
            lines, width = up.shape[:2]
            grid = Operand.pixels(up.reshape(lines * width, -1))
            forward.see(f"{name}.up_{layer}", grid)
    with forward.saturation.at(f"{name}.conv_{WINDOWS}"):
        out = to_residual(forward.linear(f"{name}.conv_{WINDOWS}", grid)).reshape(lines, width, -1)
    forward.see(f"{name}.out", out)
    return out


def _record(forward: Forward, conv: str, wide: bool) -> Epilogue:
    """Epilogue of a convolution: ReLU is the clipping to unsigned bytes, but for 16-bit results an activation."""
    record = forward.epilogue(conv)
    if not wide:
        return record
    channels = len(record.bias)
    return replace(record, activation=ACTIVATIONS["relu"].code, affine=True, shift2=RELU_SHIFT2,
                   gain=np.ones(channels, np.int16), offset=np.zeros(channels, np.int32))


def convolve(grid: Operand, weight: np.ndarray, record: Epilogue, lines: int, width: int) -> np.ndarray:
    """``v`` int64 [lines * width, O] of a 3x3 convolution of the map ``grid`` [lines * width, C], weights
    [O, C, 3, 3], in strips of a few lines.
    """
    grid, matrix, step = _filled(grid), window_weight(weight), max(1, POSITIONS // width)
    results = []
    for first in range(0, lines, step):
        last = min(first + step, lines)
        top, bottom = max(first - 1, 0), min(last + 1, lines)
        strip = grid.take(np.arange(top * width, bottom * width))
        edges = Edge.LEFT | Edge.RIGHT | (Edge.TOP if first == 0 else 0) | (Edge.BOTTOM if last == lines else 0)
        results.append(epilogue(matmul(windows(strip, bottom - top, width, edges), matrix), record))
    return np.concatenate(results)


def _filled(grid: Operand) -> Operand:
    """Zeros as further channels, up to a whole number of operand rows."""
    def fill(array: np.ndarray, unit: int) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, -array.shape[1] % unit)))
    return Operand(fill(grid.bytes, LINE), None if grid.exp is None else fill(grid.exp, 2))


def picture(result: np.ndarray, plan: HeadPlan) -> np.ndarray:
    """Result int16 [8 h, 8 w, classes] of a head, enlarged by 2 to the picture's size: float32 [classes, 16 h, 16 w],
    exact.
    """
    return (doubled(result) * 2.0 ** -(plan.frac + ENLARGED_PARTS_LOG2)).transpose(2, 0, 1).astype(np.float32)
