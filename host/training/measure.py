# SPDX-License-Identifier: Apache-2.0
"""Metrics of a network in training, on pictures that it does not learn from."""

import numpy as np
import torch

from host.evaluation.metrics import DepthSums, Spread, class_ious, confusion, mean_iou
from host.training.data import Source, plain_batch
from host.training.losses import normalised
from host.training.network import TrainingNetwork


@torch.inference_mode()
def measured(network: TrainingNetwork, source: Source, depth_unit: float, batch: int, autocast) -> dict:
    """mIoU, IoU of each class, RMSE and its ratio to predicting the mean, by kind of head; a JSON-ready dictionary."""
    config = network.config
    network.eval()
    matrices = {h.task: np.zeros((h.classes, h.classes), np.int64) for h in config.task_heads if h.kind == "semseg"}
    depths, spread = DepthSums(), Spread()
    for first in range(0, len(source), batch):
        part = plain_batch(source, first, batch)
        with autocast():
            maps = network(normalised(part.pixels, config.pixel_mean, config.pixel_std, config.pixel_scale)).maps
        for head in config.task_heads:
            result = maps[head.task].float().numpy()
            if head.kind == "semseg" and part.labels is not None:
                matrices[head.task] += confusion(result.argmax(1), part.labels.numpy(), head.classes)
            elif head.kind == "depth" and part.depth is not None:
                depths += DepthSums.of(result[:, 0] * depth_unit, part.depth.numpy())
                spread.add(part.depth.numpy())
    network.train()
    facts: dict = {}
    for matrix in matrices.values():
        facts |= {"miou": mean_iou(matrix), "ious": [round(float(v), 4) for v in class_ious(matrix)]}
    if depths.pixels:
        facts |= {"rmse": depths.rmse, "rmse_ratio": depths.rmse / max(spread.deviation, 1e-9),
                  "log_rmse": depths.log_rmse, "relative_error": depths.relative_error}
    return facts
