# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a model's heads over a set of pictures: sums that add up, and the figures that follow from them."""

from dataclasses import dataclass, field

import numpy as np

from golden.spec.heads import HeadConfig
from host.datasets.folder import Sample
from host.evaluation.metrics import DepthSums, Spread, class_ious, confusion, mean_iou


@dataclass
class Result:
    """Sums of ``pictures`` pictures, by task: confusion matrices of classes, errors of depths, spread of the depths."""

    pictures: int = 0
    matrices: dict[str, np.ndarray] = field(default_factory=dict)
    depths: dict[str, DepthSums] = field(default_factory=dict)
    spread: Spread = field(default_factory=Spread)

    def add(self, maps: dict[str, np.ndarray], sample: Sample, heads: tuple[HeadConfig, ...]) -> None:
        """Count one picture: ``maps`` [M, H, W] by task, what should be there in ``sample``."""
        self.pictures += 1
        for head in heads:
            found = maps[head.task]
            if head.kind == "semseg" and sample.label is not None:
                counted = confusion(found.argmax(0), sample.label, head.classes)
                self.matrices[head.task] = self.matrices.get(head.task, 0) + counted
            elif head.kind == "depth" and sample.depth is not None:
                errors = DepthSums.of(found[0], sample.depth)
                self.depths[head.task] = self.depths.get(head.task, DepthSums()) + errors
        if sample.depth is not None:
            self.spread.add(sample.depth)

    def __add__(self, other: "Result") -> "Result":
        matrices, depths = dict(self.matrices), dict(self.depths)
        for task, matrix in other.matrices.items():
            matrices[task] = matrices.get(task, 0) + matrix
        for task, sums in other.depths.items():
            depths[task] = depths.get(task, DepthSums()) + sums
        return Result(self.pictures + other.pictures, matrices, depths, self.spread + other.spread)

    def figures(self, classes: tuple[str, ...] = ()) -> dict:
        """A JSON-ready dictionary of all figures, by task. IoU of a class that does not occur is None."""
        found: dict = {"pictures": self.pictures}
        for task, matrix in self.matrices.items():
            names = classes if len(classes) == len(matrix) else [f"class {i}" for i in range(len(matrix))]
            ious = {name: None if np.isnan(iou) else float(iou)
                    for name, iou in zip(names, class_ious(matrix), strict=True)}
            found[task] = {"miou": mean_iou(matrix), "iou": ious,
                           "pixel_accuracy": float(np.diag(matrix).sum() / max(matrix.sum(), 1))}
        for task, sums in self.depths.items():
            found[task] = {"rmse": sums.rmse, "log_rmse": sums.log_rmse, "relative_error": sums.relative_error,
                           "mean_error": sums.mean_error,
                           "rmse_over_predicting_the_mean": sums.rmse / max(self.spread.deviation, 1e-9)}
        return found
