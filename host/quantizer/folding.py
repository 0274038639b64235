# SPDX-License-Identifier: Apache-2.0
"""Folding of affine maps into the next linear, exact: operand steps, norms, pixel scaling, offsets."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden.model.params import FloatModel
from golden.spec.model import ModelConfig
from golden.spec.tables import LOG2_FRAC


@dataclass(frozen=True)
class Scale:
    """Meaning of an operand's integers: ``real = offset + step * value``, one step and offset a channel (float64)."""

    step: Tensor
    offset: Tensor

    def encode(self, real: Tensor) -> Tensor:
        """Real values -> unrounded operand values."""
        return (real - self.offset) / self.step

    def decode(self, value: Tensor) -> Tensor:
        return self.offset + self.step * value


def fold_input(weight: Tensor, bias: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """``weight @ real + bias`` as a linear of operand values: ``(weight * step, bias + weight @ offset)``."""
    return weight * scale.step, bias + weight @ scale.offset


def fold_affine(weight: Tensor, bias: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """``weight @ (gain * x + shift) + bias`` as a linear of ``x``, the normalized values of a layer
    norm."""
    return weight * gain, bias + weight @ shift


def fold_norm(model: FloatModel, norm: str, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A linear on the output of ``norm`` as a linear on its normalized values."""
    return fold_affine(weight, bias, parameter(model, f"{norm}.weight"), parameter(model, f"{norm}.bias"))


def parameter(model: FloatModel, name: str) -> Tensor:
    """A tensor of the model in float64."""
    return torch.from_numpy(np.asarray(model[name], np.float64))


def pixel_scale(config: ModelConfig) -> Scale:
    """Scale of pixel codes after pixel scaling, mean and std, for the inputs of the patch embedding."""
    area = config.patch ** 2
    std = torch.tensor(config.pixel_std, dtype=torch.float64).repeat_interleave(area)
    mean = torch.tensor(config.pixel_mean, dtype=torch.float64).repeat_interleave(area)
    return Scale(1 / (config.pixel_scale * std), -mean / std)


def log2_scale(config: ModelConfig) -> float:
    """Factor from a raw q.k to score codes: 1 / sqrt(head_dim), log2(e), 8 fraction bits."""
    return config.head_dim ** -0.5 * gate_scale()


def gate_scale() -> float:
    """Factor from a natural-log logit to log2 units with 8 fraction bits."""
    return float(np.log2(np.e)) * 2 ** LOG2_FRAC
