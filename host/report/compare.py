# SPDX-License-Identifier: Apache-2.0
"""Comparison of the integer model with float on one picture: error by layer, experts changed, saturations, ranges."""

from dataclasses import dataclass

import numpy as np
import torch

from golden.model.float_model import M3ViT, to_pixels
from golden.model.int_model import IntModel, dequantize
from golden.model.params import FloatModel
from golden.ops.saturation import SaturationCounters


@dataclass(frozen=True)
class Error:
    """Distance of two arrays. ``sqnr`` in dB: power of the float values over power of the difference."""

    mse: float
    mae: float
    cosine: float
    sqnr: float

    @classmethod
    def between(cls, came: np.ndarray, wanted: np.ndarray) -> "Error":
        came, wanted = came.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
        off = came - wanted
        mse, power = float(np.mean(off ** 2)), float(np.mean(wanted ** 2))
        norm = float(np.linalg.norm(came) * np.linalg.norm(wanted))
        return cls(mse, float(np.abs(off).mean()), float(came @ wanted) / norm if norm else 1.0,
                   10 * float(np.log10(power / mse)) if mse and power else float("inf"))


@dataclass(frozen=True)
class LayerError:
    """One layer of one picture: error of the stream after it, its values' range, tokens whose experts changed."""

    name: str
    error: Error
    low: float
    high: float
    changed: float | None


@dataclass(frozen=True)
class Comparison:
    """One picture and task. ``changed``: share of tokens whose set of top-k experts changed, mean over MoE layers.
    ``saturations``: (place, kind, clipped, seen) of every place where something was clipped. ``frac``: fraction bits of
    the residual stream."""

    picture: str
    task: str
    output: Error
    layers: tuple[LayerError, ...]
    saturations: tuple[tuple[str, str, int, int], ...]
    frac: int

    @property
    def changed(self) -> float:
        values = [layer.changed for layer in self.layers if layer.changed is not None]
        return float(np.mean(values)) if values else 0.0


class Comparer:
    """Comparison of ``integer`` with ``model``, picture by picture; the float network is built once."""

    def __init__(self, model: FloatModel, integer: IntModel):
        self.model, self.integer = model, integer
        self._float = M3ViT(model).eval()

    @torch.inference_mode()
    def compare(self, name: str, pixels: np.ndarray, task: str) -> Comparison:
        """``pixels`` uint8 [height, width, 3] of the model's size."""
        c, probe, traced, saturation = self.model.config, {}, {}, SaturationCounters()
        self._float(to_pixels(c, pixels), task, probe)
        self.integer.run(pixels, task, trace=traced.__setitem__, saturation=saturation)
        layers = [self._layer("embed", traced["embed"], probe["embed"][0].numpy(), None)]
        for i in range(c.depth):
            changed = None
            if c.is_moe(i):
                ours = np.sort(traced[f"blocks.{i}.gate.experts"], axis=-1)
                theirs = np.sort(probe[f"blocks.{i}.gate.experts"].numpy().reshape(ours.shape), axis=-1)
                changed = float((ours != theirs).any(axis=-1).mean())
            wanted = probe[f"blocks.{i}.out"][0].numpy()
            layers.append(self._layer(f"block {i}", traced[f"blocks.{i}"], wanted, changed))
        clipped = tuple(row for row in saturation.table() if row[2])
        return Comparison(name, task, layers[-1].error, tuple(layers), clipped, self.integer.plan.residual_frac)

    def _layer(self, name: str, codes: np.ndarray, wanted: np.ndarray, changed: float | None) -> LayerError:
        came = dequantize(codes, self.integer.plan.residual_frac)
        return LayerError(name, Error.between(came, wanted), float(wanted.min()), float(wanted.max()), changed)
