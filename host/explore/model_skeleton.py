# SPDX-License-Identifier: Apache-2.0
"""A quantized model without its weights: all that the length of a program depends on, small enough to send around."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan
from host.compiler.skeleton import SkeletonTensors
from host.performance.timeline import Arrival

SMALL = 64
"""Elements up to which a tensor is kept: shifts, multipliers of heads."""


@dataclass(frozen=True)
class ModelSkeleton:
    """What the compiler asks of a model. ``queues``: arrivals at each EXPERTS of each program by name; in a program
    that is missing all experts are hit alike."""

    config: ModelConfig
    plan: Plan
    tensors: Mapping[str, np.ndarray]
    queues: dict[str, list[list[Arrival]]]


def skeleton(model, queues: dict[str, list[list[Arrival]]] | None = None) -> ModelSkeleton:
    """The skeleton of a quantized model (``config``, ``plan``, ``tensors``)."""
    kept = {name: value for name, value in model.tensors.items() if value.size <= SMALL}
    return ModelSkeleton(model.config, model.plan, SkeletonTensors(model.config, kept), queues or {})
