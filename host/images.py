# SPDX-License-Identifier: Apache-2.0
"""Picture files, read into the uint8 arrays that models take."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from golden.spec.model import ModelConfig
from host.quantizer.crops import crop


class PictureError(ValueError):
    """A file that is no picture, or one that the model cannot look at."""


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as uint8 [height, width, 3] RGB; grey is repeated, transparency dropped. Raises PictureError."""
    from skimage.io import imread  # late: importing it takes a second

    path = Path(path)
    if not path.is_file():  # imread would take a name for an address in the net
        raise PictureError(f"There is no picture file {path}.")
    try:
        image = np.asarray(imread(path))
    except Exception as error:  # decoders of a dozen formats raise whatever they like
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PictureError(f"{path} is not a picture that can be read: {reason}") from None
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise PictureError(f"{path} must be an 8-bit grey, RGB or RGBA picture, not {image.dtype} {image.shape}.")
    return np.ascontiguousarray(image[:, :, :3])


def fitted(picture: np.ndarray, model: ModelConfig, scale: int = 1) -> np.ndarray:
    """The picture [height, width, 3] at ``scale`` times the model's size: cropped around its middle to the model's
    proportions, then resized; grey where the model has one channel. Raises PictureError for other channel counts.
    """
    if model.channels not in (1, 3):
        raise PictureError(f"The model {model.name!r} looks at {model.channels} channels; a picture has 1 or 3.")
    if model.channels == 1:
        picture = np.rint(picture.mean(axis=2, keepdims=True)).astype(np.uint8)
    size = replace(model, image_height=scale * model.image_height, image_width=scale * model.image_width)
    return crop(picture, size, 1.0, 0.5, 0.5)
