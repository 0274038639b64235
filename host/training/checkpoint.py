# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of training runs: everything a run needs to go on as if it had not been interrupted."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from golden.files.errors import BadHeader, MissingFile
from golden.spec.model import ModelConfig
from golden.spec.whole_file import write_whole
from host.training.recipe import Recipe

FILE = "checkpoint.pt"


@dataclass
class Progress:
    """State of a run after ``step`` steps: weights, optimiser, averaged weights, metrics so far."""

    step: int
    network: dict
    optimiser: dict
    average: dict
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


def save(folder: Path, progress: Progress, config: ModelConfig, recipe: Recipe) -> None:
    """Write the checkpoint of a run into its folder; it appears whole or not at all."""
    about = json.dumps({"model": config.to_json(), "recipe": recipe.to_json(), "history": progress.history})
    state = {"step": progress.step, "network": progress.network, "optimiser": progress.optimiser,
             "average": progress.average, "seconds": progress.seconds, "about": about}
    data = io.BytesIO()  # torch itself would tell a full disk as a RuntimeError that names no file
    torch.save(state, data)
    write_whole(folder / FILE, lambda part: part.write_bytes(data.getbuffer()))


def load(folder: Path) -> tuple[Progress, ModelConfig, Recipe]:
    """Read a checkpoint; nothing in it is executed. Raises a subclass of ModelFileError."""
    path = folder / FILE
    if not path.exists():
        raise MissingFile(f"{folder} holds no {FILE} to resume from.")
    try:
        data = torch.load(path, weights_only=True)
        about = json.loads(data["about"])
        progress = Progress(data["step"], data["network"], data["optimiser"], data["average"], data["seconds"],
                            about["history"])
        return progress, ModelConfig.from_json(about["model"]), Recipe(**about["recipe"])
    except Exception as error:  # whatever a damaged file makes torch raise
        raise BadHeader(f"{path} is not a checkpoint of this program: {error}") from None
