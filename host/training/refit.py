# SPDX-License-Identifier: Apache-2.0
"""Refit of the depth head's last layer: the 1x1 convolution of least squared error, in closed form.

Training minimises |e| + e^2 of single batches. Which weights of the last, linear, layer have the least RMSE over many
pictures follows from normal equations; its enlargement by 2 is linear as well and commutes with it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from golden.model.float_model import M3ViT
from golden.model.heads import upsampled
from golden.model.params import FloatModel
from golden.spec.heads import WINDOWS, HeadConfig
from host.training.data import Source, plain_batch

Report = Callable[[int, int, str], None]

PICTURES = 384
BATCH = 16
STRIDE = 2
"""Every second row and column counts: neighbours tell much the same."""
RIDGE = 1e-3
"""Pull towards the weights that training found, as a share of the mean square of the inputs."""


def refit_depth(model: FloatModel, source: Source, report: Report = lambda done, total, what: None) -> FloatModel:
    """The model with refitted depth heads; the same model where there is none. ``source`` must have depths."""
    network, tensors = M3ViT(model).eval(), dict(model.tensors)
    for number, head in enumerate(model.config.task_heads):
        if head.kind == "depth":
            name = f"heads.{head.task}.conv_{WINDOWS}"
            before = torch.cat([torch.from_numpy(tensors[f"{name}.{kind}"]).reshape(-1).double()
                                for kind in ("weight", "bias")])
            found = _solved(*_normal_equations(network, number, head, source, report), before).float().numpy()
            tensors[f"{name}.weight"] = found[:-1].reshape(tensors[f"{name}.weight"].shape)
            tensors[f"{name}.bias"] = found[-1:]
    return FloatModel(model.config, tensors)


@torch.inference_mode()
def _normal_equations(network: M3ViT, number: int, head: HeadConfig, source: Source,
                      report: Report) -> tuple[Tensor, Tensor]:
    """Mean of inputs times inputs [C + 1, C + 1], the last one being 1, and of inputs times depth [C + 1]."""
    squares = torch.zeros(head.channels + 1, head.channels + 1, dtype=torch.double)
    products, pixels = torch.zeros(head.channels + 1, dtype=torch.double), 0
    total = min(PICTURES, len(source))
    for first in range(0, total, BATCH):
        part, probe = plain_batch(source, first, BATCH), {}
        network.heads[number](network(part.pixels, head.task), probe)
        assert part.depth is not None
        depth = part.depth[:, ::STRIDE, ::STRIDE].double()
        inputs = upsampled(probe[f"heads.{head.task}.conv_{WINDOWS - 1}"])[:, :, ::STRIDE, ::STRIDE].permute(0, 2, 3, 1)
        there = depth > 0
        rows = torch.cat([inputs[there].double(), torch.ones(int(there.sum()), 1, dtype=torch.double)], 1)
        squares += rows.T @ rows
        products += rows.T @ depth[there]
        pixels += len(rows)
        report(min(first + BATCH, total), total, "pictures")
    return squares / pixels, products / pixels


def _solved(squares: Tensor, products: Tensor, before: Tensor) -> Tensor:
    ridge = RIDGE * squares.diagonal().mean()
    return torch.linalg.solve(squares + ridge * torch.eye(len(squares), dtype=torch.double), products + ridge * before)
