# SPDX-License-Identifier: Apache-2.0
"""Location of the trained reference weights, and the image and output published with them."""

import os
from pathlib import Path

import numpy as np

VARIABLE = "EDGE_MOE_DATA"
"""Environment variable that names the folder; without it, ``shared/data/m3vit-tiny`` next to the checkout."""


def reference_folder() -> Path | None:
    """The folder of ``.float32.bin`` files, or ``None`` where this machine has none."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "data" / "m3vit-tiny"
    return folder if (folder / "image.float32.bin").is_file() else None


def reference_image(folder: Path) -> np.ndarray:
    """The street scene: uint8 codes, 128 x 256 x 3. The file holds code / 256."""
    planes = np.fromfile(folder / "image.float32.bin", "<f4").reshape(3, 128, 256)
    return np.rint(planes * 256).astype(np.uint8).transpose(1, 2, 0)


def reference_output(folder: Path) -> np.ndarray:
    """Published float32 residual stream after layer 11, task 0: tokens x dim = 129 x 192."""
    return np.fromfile(folder / "l11_x_post_moe.float32.bin", "<f4").reshape(129, 192)
