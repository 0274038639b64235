# SPDX-License-Identifier: Apache-2.0
"""Base of the quantizer's stages: storing tensors, fitting linears, norms, additions to the residual stream."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from golden.model.params import FloatModel
from golden.ops.arith import INT16
from golden.ops.layernorm import eps_code
from golden.spec.isa import Opcode, bounds
from golden.spec.quantized import Plan, quantized_schema
from golden.spec.tables import NORMALIZED_FRAC
from host.quantizer import emulation, folding
from host.quantizer.findings import Findings
from host.quantizer.folding import Scale
from host.quantizer.heads.map_steps import MapPolicy
from host.quantizer.linear import Inputs, LinearCodes, Rounding, fit_linear
from host.quantizer.operand_steps import Policy, gain_grid, operand_scale

_, AFFINE_SHIFT_MAX = bounds(Opcode.LINEAR, "shift2")
_, NORM_SHIFT_MAX = bounds(Opcode.NORM, "shift")
_, NORMALIZED_SHIFT_MAX = bounds(Opcode.NORM, "normalized_shift")


@dataclass(frozen=True)
class Options:
    """Tuning options of the quantizer; the defaults measured best.

    ``background``: tokens of the whole layer that replace an expert's own where it has few. ``rotate``: balanced
    bases inside attention heads, with spectra cut off at ``rotation_floor`` of their mean. Task heads:
    ``head_positions`` of their largest maps in all calibration pictures, of which ``head_samples`` give the moments.
    """

    rounding: Rounding = Rounding()
    policy: Policy = Policy()
    background: int = 512
    rotate: bool = True
    rotation_floor: float = 1e-2
    map_policy: MapPolicy = MapPolicy()
    head_positions: int = 1 << 18
    head_samples: int = 8192


class LayerQuantizer:
    """Base class of the quantizer's stages, which carry two residual streams: the float one in float64, and the integer
    one of the tensors chosen so far, in residual codes. T: tokens of all images and tasks, first task first.

    ``tensors`` collects the results; the stages of a network share it.
    """

    def __init__(self, model: FloatModel, plan: Plan, options: Options, findings: Findings,
                 tensors: dict[str, np.ndarray]):
        self.model, self.config, self.plan, self.options = model, model.config, plan, options
        self.findings, self.tensors = findings, tensors
        self.residual_step = 2.0 ** -plan.residual_frac
        self.schema = quantized_schema(self.config)

    def put(self, name: str, value) -> None:
        dtype, shape = self.schema[name]
        array = value.double().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.tensors[name] = np.rint(array).astype(dtype).reshape(shape)

    def put_affine(self, name: str, gain: Tensor, offset: Tensor, shift: int, shift_name: str = "shift2") -> None:
        self.put(f"{name}.gain", gain)
        self.put(f"{name}.offset", offset)
        self.put(f"{name}.{shift_name}", shift)

    def put_codes(self, name: str, codes: LinearCodes, weight: Tensor | None = None) -> None:
        """``weight``: the codes in the order of the schema, where that differs."""
        self.put(f"{name}.weight", codes.weight if weight is None else weight)
        self.put(f"{name}.bias", codes.bias)
        self.put(f"{name}.multiplier", codes.multiplier)
        self.put(f"{name}.shift", codes.shift)

    def weights(self, name: str) -> tuple[Tensor, Tensor]:
        """Float64 weight and bias of a linear or a norm."""
        return folding.parameter(self.model, f"{name}.weight"), folding.parameter(self.model, f"{name}.bias")

    def linear(self, name: str, a: Tensor, inputs: Inputs, wanted: Tensor, weight: Tensor, bias: Tensor, out_step,
               limit: int, bits: int = 8) -> Tensor:
        """Quantizes and stores one linear on operand values ``a`` [T, I], of statistics ``inputs``, whose mean results
        are ``wanted`` [O]; returns its ``u``, not yet clipped to 16 bits.
        """
        codes = fit_linear([inputs], wanted[None], weight[None], bias[None], out_step, limit, self.options.rounding,
                           bits=bits)
        self.put_codes(name, codes)
        return codes.run(a)

    def affine(self, name: str, scale: Scale, unit: Tensor | float, g: Tensor, wide: bool) -> tuple[Tensor, Scale]:
        """Stores the affine of an epilogue that converts ``g`` (steps of ``unit``) to an operand of ``scale``; returns
        the operand's values and their exact scale.
        """
        gain, offset, shift, scale = gain_grid(scale, unit, AFFINE_SHIFT_MAX)
        self.put_affine(name, gain, offset, shift)
        return emulation.affine(g, gain, offset, shift, wide), scale

    def normalized(self, name: str, x: Tensor, eps: float | None = None) -> tuple[Tensor, float]:
        """Normalized codes [T, D] of the integer stream, and their step; stores ``normalized_shift`` and ``eps`` (by
        default the model's).
        """
        c = self.config
        eps, codes, shift = eps_code(c.eps if eps is None else eps, c.dim, self.plan.residual_frac), x.flatten(0, 1), 0
        # With mean 0 and variance 1, none of D values is larger than the root of D - 1.
        while shift < NORMALIZED_SHIFT_MAX and (c.dim - 1) ** 0.5 * 2 ** NORMALIZED_FRAC > INT16[1] << shift:
            top = float(emulation.normalized(codes, eps, NORMALIZED_SHIFT_MAX).abs().max())
            if top * self.options.policy.normalized_room < INT16[1] >> NORMALIZED_SHIFT_MAX - shift:
                break
            shift += 1
        self.put(f"{name}.normalized_shift", shift)
        self.put(f"{name}.eps", eps)
        return emulation.normalized(codes, eps, shift), 2.0 ** (shift - NORMALIZED_FRAC)

    def norm(self, name: str, x_float: Tensor, x: Tensor, wide: bool, following: Tensor, bits: int = 8):
        """-> float result [T, D]; normalized codes [T, D] and their step; operand values [T, D] and their scale
        (relative to normalized values).

        ``following`` [O, D]: the weights, of ``bits`` bits, that multiply the result.
        """
        weight, bias = self.weights(name)
        y = F.layer_norm(x_float, (self.config.dim,), weight, bias, self.config.eps).flatten(0, 1)
        normalized, step = self.normalized(name, x)
        scale = operand_scale(normalized, step, following * weight, wide, self.options.policy, bits=bits)
        gain, offset, shift, scale = gain_grid(scale, step, NORM_SHIFT_MAX)
        self.put_affine(name, gain, offset, shift, "shift")
        return y, normalized, step, emulation.affine(normalized, gain, offset, shift, wide), scale

    def add(self, name: str, x_float: Tensor, x: Tensor, a: Tensor, target: Tensor, weight: Tensor, bias: Tensor,
            limit: int, bits: int) -> tuple[Tensor, Tensor]:
        """Quantizes a linear into the residual stream; returns both streams after it. Its bias also corrects the mean
        error accumulated in the integer stream so far.
        """
        x_float = x_float + target.view_as(x_float)
        wanted = (x_float - x * self.residual_step).flatten(0, 1).mean(0)
        u = self.linear(name, a, Inputs.of(a), wanted, weight, bias, self.residual_step, limit, bits)
        u = self.findings.clip(name, "results", u, *INT16)
        x = self.findings.clip(name, "values of the residual stream after it", x + u.view_as(x), *INT16)
        self.findings.stream(name, x_float, x * self.residual_step)
        return x_float, x
