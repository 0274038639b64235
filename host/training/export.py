# SPDX-License-Identifier: Apache-2.0
"""Between trainable networks and float models: BatchNorm folded into convolutions, names of gates and heads."""

import numpy as np
import torch

from golden.model.params import FloatModel
from golden.spec.heads import WINDOWS
from golden.spec.model import ModelConfig
from host.importers.heads import BATCH_NORM_EPS, fold_batch_norm
from host.training.network import TrainingNetwork

State = dict[str, torch.Tensor]


def exported(config: ModelConfig, state: State, depth_unit: float) -> FloatModel:
    """The float model of a :class:`TrainingNetwork`'s state; the depth head's result becomes metres."""
    arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in state.items()}
    tensors = {}
    for name, array in arrays.items():
        if name.startswith("heads.") or name.endswith(".w_noise"):
            continue
        tensors[_gate_name(config, name)] = array
    for number, head in enumerate(config.task_heads):
        here, there = f"heads.{number}.", f"heads.{head.task}."
        for kind in ("weight", "bias"):
            tensors[f"{there}norm.{kind}"] = arrays[f"{here}norm.{kind}"]
        for i in range(WINDOWS + 1):
            weight, bias = arrays[f"{here}conv_{i}.weight"], arrays[f"{here}conv_{i}.bias"]
            norm = f"{here}batch_norm_{i}."
            if f"{norm}weight" in arrays:
                weight, bias = fold_batch_norm(weight, bias, *(arrays[norm + part] for part in (
                    "weight", "bias", "running_mean", "running_var")), eps=BATCH_NORM_EPS)
            if i == WINDOWS and head.kind == "depth":
                weight, bias = weight * np.float32(depth_unit), bias * np.float32(depth_unit)
            tensors[f"{there}conv_{i}.weight"], tensors[f"{there}conv_{i}.bias"] = weight, bias
    return FloatModel(config, {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()})


def initialised(network: TrainingNetwork, model: FloatModel, depth_unit: float) -> list[str]:
    """Copy the parameters that ``model`` and ``network`` (without BatchNorm) share in name and shape.

    Gates of tasks that the model has not are copied from its first task. Returns the names that keep their start
    values.
    """
    config, old, state = network.config, model.config, network.state_dict()
    kept = []
    for name, tensor in state.items():
        source = _source(config, old, name)
        array = model.tensors.get(source) if source else None
        if array is not None and name.endswith(f"conv_{WINDOWS}.weight") | name.endswith(f"conv_{WINDOWS}.bias"):
            head = config.task_heads[int(name.split(".")[1])]
            array = array / np.float32(depth_unit) if head.kind == "depth" else array
        if array is None or array.shape != tuple(tensor.shape):
            kept.append(name)
            continue
        tensor.copy_(torch.from_numpy(array))
    return kept


def _gate_name(config: ModelConfig, name: str) -> str:
    """Name in the float model of a parameter of a block: gates are called by their task."""
    block, mark, rest = name.partition(".gate.")
    if not mark:
        return name
    number, kind = rest.split(".")
    return f"{block}.gate.{config.tasks[int(number)]}.{kind}"


def _source(config: ModelConfig, old: ModelConfig, name: str) -> str | None:
    """Name in ``old``'s float model of what a network parameter of ``config`` starts from."""
    if name.startswith("heads."):
        number, rest = name.removeprefix("heads.").split(".", 1)
        return f"heads.{config.task_heads[int(number)].task}.{rest}"
    block, mark, rest = name.partition(".gate.")
    if not mark:
        return name
    number, kind = rest.split(".")
    task = config.tasks[int(number)]
    return f"{block}.gate.{task if task in old.tasks else old.tasks[0]}.{kind}"
