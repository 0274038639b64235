# SPDX-License-Identifier: Apache-2.0
"""What every stage of the quantizer shares: storing tensors, fitting linears, norms, the way into the residual."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from golden.model.params import FloatModel
from golden.spec.quantized import Plan, quantized_schema
from golden.spec.tables import GELU_IN_FRAC, GELU_OUT_FRAC, RESIDUAL_FRAC, XHAT_FRAC
from host.compiler import batch, folds
from host.compiler.calibrate import Policy, gain_grid, operand_scale
from host.compiler.fit import BLOCK_MAX, WIDE_MAX, LinearCodes, Rounding, Samples, fit_linear
from host.compiler.folds import Scale

RESIDUAL_STEP = 2.0 ** -RESIDUAL_FRAC
XHAT_STEP = 2.0 ** -XHAT_FRAC
GELU_IN_STEP = 2.0 ** -GELU_IN_FRAC
GELU_OUT_STEP = 2.0 ** -GELU_OUT_FRAC
AFFINE_SHIFT_MAX, NORM_SHIFT_MAX = 40, 31


@dataclass(frozen=True)
class Options:
    """Everything that may be tuned; the defaults are what was measured best.

    ``background``: tokens of the whole layer that stand in for an expert's own where it had few. ``turn``: balanced
    bases inside attention heads, with spectra cut off at ``turn_floor`` of their mean.
    """

    rounding: Rounding = Rounding()
    policy: Policy = Policy()
    background: int = 512
    turn: bool = True
    turn_floor: float = 1e-2


def operand_max(wide: bool) -> int:
    return WIDE_MAX if wide else BLOCK_MAX


class Walk:
    """A walk through the network with two streams: the float one, and the integer one that the tensors chosen so far
    make, the latter in residual codes. T tokens of all images and tasks, images of the first task first.
    """

    def __init__(self, model: FloatModel, plan: Plan, options: Options):
        self.model, self.config, self.plan, self.options = model, model.config, plan, options
        self.tensors: dict[str, np.ndarray] = {}
        self.schema = quantized_schema(self.config)

    def put(self, name: str, value) -> None:
        dtype, shape = self.schema[name]
        array = value.double().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.tensors[name] = np.rint(array).astype(dtype).reshape(shape)

    def put_affine(self, name: str, gain: Tensor, offset: Tensor, shift: int, shift_name: str = "shift2") -> None:
        self.put(f"{name}.gain", gain)
        self.put(f"{name}.offset", offset)
        self.put(f"{name}.{shift_name}", shift)

    def put_codes(self, name: str, codes: LinearCodes) -> None:
        self.put(f"{name}.weight", codes.weight)
        self.put(f"{name}.bias", codes.bias)
        self.put(f"{name}.mult", codes.mult)
        self.put(f"{name}.shift", codes.shift)

    def weights(self, name: str) -> tuple[Tensor, Tensor]:
        """Float64 weight and bias of a linear or a norm."""
        return folds.parameter(self.model, f"{name}.weight"), folds.parameter(self.model, f"{name}.bias")

    def linear(self, name: str, a: Tensor, target: Tensor, weight: Tensor, bias: Tensor, out_step,
               limit: int, bits: int = 8) -> Tensor:
        """Quantizes and stores one linear on operand values ``a`` [T, I]; returns its ``u``."""
        codes = fit_linear([Samples(a, target)], weight[None], bias[None], out_step, limit, self.options.rounding,
                           bits=bits)
        self.put_codes(name, codes)
        return codes.run(a)

    def affine(self, name: str, scale: Scale, unit: Tensor | float, g: Tensor, wide: bool) -> tuple[Tensor, Scale]:
        """Stores the affine behind an epilogue that turns ``g`` (steps of ``unit``) into an operand of ``scale``;
        returns the operand's values and the scale they really have.
        """
        gain, offset, shift, scale = gain_grid(scale, unit, AFFINE_SHIFT_MAX)
        self.put_affine(name, gain, offset, shift)
        return batch.operand(batch.affine(g, gain.float(), offset.float(), shift), wide), scale

    def norm(self, name: str, x_float: Tensor, x: Tensor, wide: bool, following: Tensor, bits: int = 8):
        """-> float result, xhat codes and operand values, each [T, D], and the operand's scale (of xhat).

        ``following`` [O, D]: the weights that the result meets, of so many ``bits``.
        """
        c = self.config
        weight, bias = self.weights(name)
        y = F.layer_norm(x_float, (c.dim,), weight.float(), bias.float(), c.eps).flatten(0, 1)
        xhat = batch.xhat(x, c.eps * 4.0 ** RESIDUAL_FRAC).flatten(0, 1)
        scale = operand_scale(xhat * XHAT_STEP, following * weight, wide, self.options.policy, bits=bits)
        gain, offset, shift, scale = gain_grid(scale, XHAT_STEP, NORM_SHIFT_MAX)
        self.put_affine(name, gain, offset, shift, "shift")
        self.put(f"{name}.xhat_shift", 0)
        self.put(f"{name}.eps", round(c.eps * 4 ** RESIDUAL_FRAC * c.dim ** 2))
        return y, xhat, batch.operand(batch.affine(xhat, gain.float(), offset.float(), shift), wide), scale

    def add(self, name: str, x_float: Tensor, x: Tensor, a: Tensor, target: Tensor, weight: Tensor, bias: Tensor,
            limit: int, bits: int) -> tuple[Tensor, Tensor]:
        """A linear into the residual stream; both streams behind it. Its bias also takes away the mean error that the
        integer stream has gathered by then.
        """
        behind = x_float + target.view_as(x_float)
        wanted = (behind - x * RESIDUAL_STEP).flatten(0, 1)
        u = self.linear(name, a, wanted, weight, bias, RESIDUAL_STEP, limit, bits)
        return behind, batch.sat16(x + u.view_as(x))
