# SPDX-License-Identifier: Apache-2.0
"""Quantizer stage for one task head: norm, convolutions of maps, result."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.model.int_checks import head_peaks
from golden.ops.arith import INT16
from golden.spec.heads import NORM_EPS, UPSAMPLED, WINDOWS, HeadConfig
from golden.spec.model import ModelConfig
from golden.spec.quantized import HeadPlan
from golden.spec.tables import UNSIGNED_MAX
from golden.spec.tiling import WINDOW
from host.quantizer import emulation
from host.quantizer.heads import maps
from host.quantizer.heads.map_steps import map_step, norm_grid
from host.quantizer.layer import NORM_SHIFT_MAX, LayerQuantizer
from host.quantizer.linear import Inputs, LinearCodes, fit_linear
from host.quantizer.operand_steps import operand_scale

MAP_CLIPPED_DB = 25.0
"""Clipping of a map of bytes with a higher SQNR than this is the cheaper error: it buys finer steps."""
FEWEST = 8
"""Least number of calibration pictures of a head, where there are so many."""
LARGEST = 64
"""Positions of a head's largest map for each position of the token grid."""


class HeadQuantizer(LayerQuantizer):
    """Quantizer stage of task heads, on the float and the integer stream of a few of the pictures."""

    def quantize(self, head: HeadConfig, plan: HeadPlan, x_float: Tensor, x: Tensor) -> None:
        """Quantizes and stores one head on streams [B, N, D] of its task."""
        name, extra, peaks = f"heads.{head.task}", self.config.extra_tokens, head_peaks(f"heads.{head.task}", plan)
        grid_float, grid, step = self.head_norm(name, plan.norm, x_float[:, extra:].contiguous(),
                                                x[:, extra:].contiguous())
        for layer in range(WINDOWS):
            conv, wide = f"{name}.conv_{layer}", plan.last and layer == WINDOWS - 1
            following = self.weights(f"{name}.conv_{layer + 1}")[0]
            grid_float, grid, step = self.window(conv, grid_float, grid, step, following, peaks[conv], wide)
            if UPSAMPLED[layer]:
                grid_float, grid = maps.doubled(grid_float), maps.doubled(grid)
        self.result(f"{name}.conv_{WINDOWS}", grid_float, grid, step, peaks[f"{name}.conv_{WINDOWS}"], plan.frac)

    def head_norm(self, name: str, wide: bool, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantizes the norm of patch tokens [B, patches, D]: float map, operand values and their steps. Offsets stay
        in the norm, so that value 0 means 0.
        """
        weight, bias = self.weights(f"{name}.norm")
        following, shape = maps.matrix(self.weights(f"{name}.conv_0")[0]), (-1, *self.config.grid, self.config.dim)
        y = F.layer_norm(x_float, (self.config.dim,), weight, bias, NORM_EPS)
        normalized, unit = self.normalized(f"{name}.norm", x, NORM_EPS)
        scale = operand_scale(normalized * unit * weight + bias, 1.0, following.reshape(-1, self.config.dim), wide,
                              self.options.policy, centred=False)
        gain, offset, shift, step = norm_grid(scale.step, unit * weight, bias, NORM_SHIFT_MAX)
        self.put_affine(f"{name}.norm", gain, offset, shift, "shift")
        a = emulation.affine(normalized, gain, offset, shift, wide)
        return y.float().reshape(shape), a.reshape(shape), step

    def window(self, name: str, grid_float: Tensor, grid: Tensor, step: Tensor, following: Tensor, peak: int,
               wide: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Quantizes a 3x3 convolution with ReLU on maps [B, h, w, C] (the integer one in steps of ``step``), whose
        result is multiplied by ``following`` [O, C, k, k]: both results, and the steps of the integer one.
        """
        weight, bias = self.weights(name)
        rows, column = maps.matrix(weight).float(), bias.float()
        target = maps.convolved(grid_float, lambda windows: windows @ rows.T + column, torch.float32)
        positions = maps.sampled_positions(grid, self.options.head_samples)
        few = target.flatten(0, 2)[positions].double()
        y = target.relu_()
        out_step = map_step(few.relu(), y.amax((0, 1, 2)).double(), following, wide, self.options.map_policy)
        windows = maps.sampled_windows(grid, positions)
        folded = maps.matrix(weight * step[:, None, None])
        codes = self.fit(name, Inputs.of(windows), few.mean(0), folded, bias, out_step, peak, WINDOW)
        top, dtype = (INT16[1], torch.float32) if wide else (UNSIGNED_MAX, torch.uint8)

        def run(windows: Tensor) -> Tensor:
            return maps.linear(windows, codes.weight[0], codes.bias[0], codes.multiplier[0], codes.shift).clamp(min=0)
        self.findings.clip(name, "values of the map", run(windows), 0, top, out_step, MAP_CLIPPED_DB)
        return y, maps.convolved(grid, lambda windows: run(windows).clamp(max=top), dtype), out_step

    def fit(self, name: str, inputs: Inputs, wanted: Tensor, weight: Tensor, bias: Tensor, out_step: Tensor | float,
            peak: int, size: int) -> LinearCodes:
        """Fits and stores a convolution of ``size`` x ``size`` given as a matrix on operand values."""
        codes = fit_linear([inputs], wanted[None], weight[None], bias[None], out_step, peak, self.options.rounding)
        self.put_codes(name, codes, maps.from_matrix(codes.weight[0], size) if size > 1 else None)
        return codes

    def result(self, name: str, grid_float: Tensor, grid: Tensor, step: Tensor, peak: int, frac: int) -> None:
        """Quantizes the 1x1 convolution to the head's result in steps of 2**-frac."""
        weight, bias = self.weights(name)
        weight, unit = weight.flatten(1), 2.0 ** -frac
        a = grid.flatten(0, 2)
        target = torch.cat([rows @ weight.float().T + bias.float() for rows in grid_float.flatten(0, 2).split(1 << 14)])
        codes = self.fit(name, Inputs.of(a), target.double().mean(0), weight * step, bias, unit, peak, 1)
        u = self.findings.clip(name, "results", codes.run(a), *INT16, unit)
        self.findings.stream(name, target, u * unit)


def head_pictures(config: ModelConfig, count: int, positions: int) -> np.ndarray:
    """Numbers of the pictures of ``count`` that heads are calibrated on: evenly spaced, as many as have ``positions``
    in their largest maps together, but not fewer than :data:`FEWEST`.
    """
    chosen = min(count, max(FEWEST, positions // (LARGEST * config.patches)))
    return np.linspace(0, count - 1, chosen).round().astype(np.int64)
