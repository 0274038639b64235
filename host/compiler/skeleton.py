# SPDX-License-Identifier: Apache-2.0
"""Model skeleton: a quantized model without its weights: all that the length of a program depends on, small enough to
send to other processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan, quantized_schema
from host.ir.model import QuantizedModel
from host.performance.timeline import Arrival

SMALL = 64
"""Elements up to which a tensor is kept: shifts, multipliers of heads."""


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
class ModelSkeleton:
    """What the compiler asks of a model, and for the timeline ``queues``: arrivals at each EXPERTS of each program by
    name; in a program that is missing all experts are hit alike."""

    config: ModelConfig
    plan: Plan
    tensors: Mapping[str, np.ndarray]
    queues: Mapping[str, list[list[Arrival]]] = field(default_factory=dict)
    rest: Mapping[str, np.ndarray] = field(default_factory=dict)


def empty(config: ModelConfig, plan: Plan) -> ModelSkeleton:
    """A model of all zeros."""
    return ModelSkeleton(config, plan, SkeletonTensors(config, {}))


def skeleton(model: QuantizedModel, queues: Mapping[str, list[list[Arrival]]] | None = None) -> ModelSkeleton:
    """A quantized model with its small tensors only."""
    kept = {name: value for name, value in model.tensors.items() if value.size <= SMALL}
    return ModelSkeleton(model.config, model.plan, SkeletonTensors(model.config, kept), queues or {})
