# SPDX-License-Identifier: Apache-2.0
"""Results of a session as panels of a sheet: maps by task, ground truth if a set has any."""

import numpy as np

from golden.spec.model import ModelConfig
from host.datasets.folder import Sample
from host.driver.result import Result
from host.pictures.panels import Output


def outputs_of(result: Result, config: ModelConfig, sample: Sample | None = None) -> list[Output]:
    """The maps of ``result`` in the order of the model's heads; ``sample``: the truth, at the model's size."""
    truth: dict[str, np.ndarray | None] = {"semseg": sample.label, "depth": sample.depth} if sample else {}
    return [Output(head, result[head.task], truth.get(head.kind)) for head in config.task_heads if head.task in result]
