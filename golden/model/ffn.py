# SPDX-License-Identifier: Apache-2.0
"""FFNs of the float reference model: dense, and mixtures of experts."""

from collections.abc import Callable, MutableMapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.spec.model import ModelConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x, "relu": F.relu, "gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}
"""What PyTorch calls the activations of :mod:`golden.spec.activations`."""

Probe = MutableMapping[str, Tensor]
"""Receives named intermediates by item assignment: a dict keeps all of them, another mapping may keep
statistics.
"""


class Mlp(nn.Module):
    """``fc2(activation(fc1(x)))``."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.fc1 = nn.Linear(config.dim, config.mlp_hidden)
        self.fc2 = nn.Linear(config.mlp_hidden, config.dim)

    def forward(self, x: Tensor, probe: Probe, name: str) -> Tensor:  # [B, N, D] -> [B, N, D]
        before = self.fc1(x)  # [B, N, F]
        hidden = self.activation(before)
        probe[f"{name}mlp.fc1"], probe[f"{name}mlp.hidden"] = before, hidden
        return self.fc2(hidden)


class Stacked(nn.Module):
    """Stacked linears of all experts: weight [E, outputs, inputs], bias [E, outputs]."""

    def __init__(self, experts: int, outputs: int, inputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs))


class Experts(nn.Module):
    """``sum over the k chosen experts e of weight_e * mlp_e(x)``, each expert run on its own tokens only."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.fc1 = Stacked(config.experts, config.expert_hidden, config.dim)
        self.fc2 = Stacked(config.experts, config.dim, config.expert_hidden)

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor, probe: Probe, name: str) -> Tensor:
        b, n, dim = x.shape
        x, chosen, weights = x.reshape(b * n, dim), chosen.reshape(b * n, -1), weights.reshape(b * n, -1)
        out = torch.zeros_like(x)  # [B * N, D]
        for e in range(self.fc1.weight.shape[0]):
            token, place = torch.where(chosen == e)  # the queue of expert e; place < k
            if len(token) == 0:
                continue
            before = F.linear(x[token], self.fc1.weight[e], self.fc1.bias[e])  # [queue, F]
            hidden = self.activation(before)
            y = F.linear(hidden, self.fc2.weight[e], self.fc2.bias[e])  # [queue, D]
            out = out.index_add(0, token, y * weights[token, place, None])
            probe[f"{name}mlp.tokens.{e}"] = token
            probe[f"{name}mlp.fc1.{e}"], probe[f"{name}mlp.hidden.{e}"], probe[f"{name}mlp.fc2.{e}"] = \
                before, hidden, y
        return out.reshape(b, n, dim)
