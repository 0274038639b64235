# SPDX-License-Identifier: Apache-2.0
"""Seeded networks of the libraries, saved as they save them, and how far an imported model is from them."""

import json

import numpy as np
import torch

from golden.files import safetensors_file
from golden.model.float_model import M3ViT, to_pixels
from host.importers import import_checkpoint

CLOSE = 1e-4
"""Largest difference of features that counts as equal; they have a deviation of 1 after the final norm."""


def seeded(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The network with every parameter drawn anew, so that no part is zero or one and a wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(0, 0.3 if parameter.ndim < 2 or "token" in name or "pos" in name else 0.05,
                              generator=generator)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1)
    return network.eval()


def save(folder, network: torch.nn.Module, **files: dict) -> None:
    """A folder with the network's tensors and JSON files, ``config`` and ``preprocessor_config`` for example."""
    safetensors_file.write(folder / "model.safetensors", {
        name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()})
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, channels), dtype=np.uint8)


@torch.inference_mode()
def features(model, image: np.ndarray, normed: bool = True) -> torch.Tensor:
    """Features of an imported model, after the final norm where it has one and ``normed``."""
    network = M3ViT(model).eval()
    return network.features(to_pixels(model.config, image), normed=normed and model.config.final_norm)


def prepared(image: np.ndarray, mean, std, scale: float = 255.0) -> torch.Tensor:
    """What a library feeds its network."""
    mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
    return (torch.from_numpy(image).permute(0, 3, 1, 2).float() / scale - mean) / std


def imported(folder, **options):
    """The model in a folder, and what was said about it."""
    said: list[str] = []
    return import_checkpoint(folder, note=said.append, **options), said
