# SPDX-License-Identifier: Apache-2.0
"""Model skeleton: a quantized model without its weights, all that the length of a program depends on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan, quantized_schema


class SkeletonTensors(Mapping):
    """``kept`` tensors as they are, zeros for the others, made when they are asked for."""

    def __init__(self, config: ModelConfig, kept: dict[str, np.ndarray]):
        self.kept, self.schema = kept, quantized_schema(config)

    def __getitem__(self, name: str) -> np.ndarray:
        dtype, shape = self.schema[name]
        return self.kept[name] if name in self.kept else np.zeros(shape, dtype)

    def __iter__(self):
        return iter(self.schema)

    def __len__(self) -> int:
        return len(self.schema)


@dataclass(frozen=True)
class Skeleton:
    """What the compiler asks of a model."""

    config: ModelConfig
    plan: Plan
    tensors: Mapping[str, np.ndarray]


def skeleton(config: ModelConfig, plan: Plan) -> Skeleton:
    """A model of all zeros."""
    return Skeleton(config, plan, SkeletonTensors(config, {}))
