# SPDX-License-Identifier: Apache-2.0
"""Results of a session as panels of a sheet: maps by task, ground truth if a set has any, load of the experts."""

import numpy as np

from golden.model.int_model import IntModel
from golden.spec.model import ModelConfig
from host.datasets.folder import Sample
from host.driver.result import Result
from host.pictures.panels import Output


def outputs_of(result: Result, config: ModelConfig, sample: Sample | None = None) -> list[Output]:
    """The maps of ``result`` in the order of the model's heads; ``sample``: the truth, at the model's size."""
    truth: dict[str, np.ndarray | None] = {"semseg": sample.label, "depth": sample.depth} if sample else {}
    return [Output(head, result[head.task], truth.get(head.kind)) for head in config.task_heads if head.task in result]


def tokens_of_experts(chosen: np.ndarray, experts: int) -> np.ndarray:
    """Tokens of each expert, int [experts], of a layer's choices int [tokens, top_k]."""
    return np.bincount(chosen.reshape(-1), minlength=experts)


def expert_load(model: IntModel, picture: np.ndarray, tasks: tuple[str, ...]) -> dict[str, dict[int, np.ndarray]]:
    """Tokens of each expert, int [experts] by task and MoE layer, as the integer network routes ``picture``."""
    load: dict[str, dict[int, np.ndarray]] = {}
    for task in tasks if model.config.moe_layers else ():
        seen: dict[str, np.ndarray] = {}
        model.run(picture, task, trace=lambda name, value, seen=seen: seen.update(
            {name: value} if name.endswith("gate.experts") else {}))
        load[task] = {layer: tokens_of_experts(seen[f"blocks.{layer}.gate.experts"], model.config.experts)
                      for layer in sorted(model.config.moe_layers)}
    return load
