# SPDX-License-Identifier: Apache-2.0
"""One picture and its result."""

from dataclasses import dataclass

import numpy as np

from host.driver.result import Result


@dataclass(frozen=True)
class Frame:
    """One picture at the model's size, uint8 [H, W, C], what it is called, and its result."""

    name: str
    pixels: np.ndarray
    result: Result


def features(result: Result, normed: bool = False) -> np.ndarray:
    """float32 [tokens, dim], or [tasks, tokens, dim] where several ran, before or after the final norm."""
    tasks = list((result.normed_by_task if normed else result.by_task).values())
    return np.stack(tasks) if len(tasks) > 1 else tasks[0]
