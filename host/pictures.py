# SPDX-License-Identifier: Apache-2.0
"""Pictures in: from files to the uint8 arrays that models take."""

from pathlib import Path

import numpy as np

from golden.spec.model import ModelConfig
from host.compiler.views import crop


class PictureError(ValueError):
    """A file that is no picture."""


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as uint8 [height, width, 3] RGB; grey is repeated, transparency dropped. Raises PictureError."""
    from skimage.io import imread  # late: importing it takes a second

    try:
        image = np.asarray(imread(path))
    except (OSError, ValueError, SyntaxError) as error:
        raise PictureError(f"{path} is not a picture that can be read: {str(error).splitlines()[0]}") from None
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise PictureError(f"{path} must be an 8-bit grey, RGB or RGBA picture, not {image.dtype} {image.shape}.")
    return np.ascontiguousarray(image[:, :, :3])


def fitted(picture: np.ndarray, model: ModelConfig) -> np.ndarray:
    """The picture at the model's size: cropped around its middle to the model's proportions, then resized."""
    return crop(picture, model, 1.0, 0.5, 0.5)
