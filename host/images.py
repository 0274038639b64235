# SPDX-License-Identifier: Apache-2.0
"""Pictures: files of any usual kind read into uint8 arrays, cropped and resized to what a model takes."""

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from golden.spec.model import ModelConfig
from host.pictures.errors import PictureError

ARRAY = ".npy"
MOST_PIXELS = 2 * ((1 << 30) // 12)
"""Pixels beyond which Pillow takes a file for an attack on the memory: twice its MAX_IMAGE_PIXELS."""
SENT = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Formats of pictures that are taken from a network."""
DEEP = 65_535
"""White of a picture with 16 bits a channel."""


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as uint8 [height, width, 3] RGB, upright as its EXIF orientation says. Raises PictureError.

    Grey is repeated, transparency dropped, CMYK converted; 16 bits become 8, rounded, and of an animation the first
    frame counts. ``.npy`` holds bool, uint8 or uint16, [height, width] or [height, width, 1, 3 or 4].
    """
    path = Path(path)
    if not path.exists():
        raise PictureError(f"There is no picture file {path}.")
    if not path.is_file():  # a pipe would be waited for, for ever
        raise PictureError(f"{path} must be a picture file, not a folder, pipe or device.")
    try:
        return _rgb(_array(path)) if path.suffix.lower() == ARRAY else _decoded(path)
    except PictureError as error:
        raise PictureError(f"{path} {error}") from None
    except ModuleNotFoundError:  # of Pillow, without which .npy can be read
        raise
    except Exception as error:  # decoders of a dozen formats raise whatever they like
        if type(error).__name__ == "DecompressionBombError":
            raise PictureError(f"{path} has more than {MOST_PIXELS:,} pixels: make it smaller first.") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise PictureError(f"{path} is not a picture that can be read: {reason}.") from None


def decode_picture(data: bytes, most_pixels: int, formats: tuple[str, ...] = SENT) -> np.ndarray:
    """The bytes of a picture file that somebody sent, as :func:`read_picture` gives it. Raises PictureError, before
    anything is decoded, for other ``formats`` of Pillow and for more than ``most_pixels``.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return _decoded(io.BytesIO(data), formats, most_pixels)
    except PictureError as error:
        raise PictureError(f"The picture {error}") from None
    except UnidentifiedImageError:
        raise PictureError(f"What came is no picture: it must be a file of {', '.join(formats)}.") from None
    except Image.DecompressionBombError:
        raise PictureError(f"The picture has more than {most_pixels:,} pixels: make it smaller first.") from None
    except Exception as error:  # decoders of a dozen formats raise whatever they like
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise PictureError(f"The picture cannot be read: {reason}.") from None


def _decoded(file: Path | BinaryIO, formats: tuple[str, ...] | None = None,
             most_pixels: int = MOST_PIXELS) -> np.ndarray:
    from PIL import Image, ImageChops, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # half of what is refused
        with Image.open(file, formats=formats) as picture:
            if picture.width * picture.height > most_pixels:
                raise PictureError(f"has {picture.width:,} x {picture.height:,} pixels, more than {most_pixels:,}: "
                                   f"make it smaller first.")
            form = picture.format
            ImageOps.exif_transpose(picture, in_place=True)
            if picture.mode.startswith("I") and (picture.mode != "I" or form in ("PNG", "PPM")):
                return _rgb(np.asarray(picture).astype(np.uint16))
            if picture.mode in ("I", "F"):
                raise PictureError(f"must have 1, 8 or 16 bits a channel, not 32 (mode {picture.mode!r}).")
            if picture.mode == "CMYK" and form == "JPEG" and "adobe" not in picture.info:
                picture = ImageChops.invert(picture)  # Pillow takes all for Adobe's, where 255 means no ink
            return np.array(picture.convert("RGB"))


def _array(path: Path) -> np.ndarray:
    array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: nothing is read before it is checked
    shape = array.shape
    if array.dtype not in (np.bool_, np.uint8, np.uint16) or len(shape) not in (2, 3) or shape[2:] not in (
            (), (1,), (3,), (4,)) or 0 in shape:
        raise PictureError(f"must hold bool, uint8 or uint16 [height, width] or [height, width, 1, 3 or 4], not "
                           f"{array.dtype} {list(shape)}.")
    if shape[0] * shape[1] > MOST_PIXELS:
        raise PictureError(f"has more than {MOST_PIXELS:,} pixels: make it smaller first.")
    return np.array(array)


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3] of grey, RGB or RGBA of any accepted depth."""
    if pixels.dtype == np.bool_:
        pixels = np.where(pixels, np.uint8(255), np.uint8(0))
    elif pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) * 255 + DEEP // 2) // DEEP).astype(np.uint8)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3])


def resized(image: np.ndarray, height: int, width: int, kind: str = "bilinear") -> np.ndarray:
    """``image``, uint8 [height, width, 1 or 3], at another size: over all pixels that a new one covers, by a ``kind``
    of :data:`golden.spec.model.INTERPOLATIONS`.
    """
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    from PIL import Image

    flat = image[:, :, 0] if image.shape[2] == 1 else image
    found = Image.fromarray(np.ascontiguousarray(flat)).resize((width, height), Image.Resampling[kind.upper()])
    return np.array(found).reshape(height, width, image.shape[2])


def crop(image: np.ndarray, config: ModelConfig, scale: float, y: float, x: float, flip: bool = False) -> np.ndarray:
    """The window of the model's aspect whose size is ``scale`` (0..1) of the largest one that fits, resized.

    ``y`` and ``x`` in 0..1 place it between the edges; ``flip`` mirrors left and right.
    """
    height, width = image.shape[:2]
    fit = min(height / config.image_height, width / config.image_width) * scale
    rows, columns = max(1, round(config.image_height * fit)), max(1, round(config.image_width * fit))
    top, left = round(y * (height - rows)), round(x * (width - columns))
    window = image[top:top + rows, left:left + columns]
    return resized(window[:, ::-1] if flip else window, config.image_height, config.image_width)


def fitted(picture: np.ndarray, model: ModelConfig, scale: int = 1) -> np.ndarray:
    """The picture [height, width, 3] at ``scale`` times the model's size, as its ``fit`` of
    :data:`golden.spec.model.FITS` says; grey where it has one channel. Raises PictureError for other channel counts.
    """
    if model.channels not in (1, 3):
        raise PictureError(f"The model {model.name!r} looks at {model.channels} channels; a picture has 1 or 3.")
    if model.channels == 1:
        picture = np.rint(picture.mean(axis=2, keepdims=True)).astype(np.uint8)
    size = replace(model, image_height=scale * model.image_height, image_width=scale * model.image_width)
    return crop(picture, size, 1.0, 0.5, 0.5) if model.fit == "middle" else _middle_of_resized(picture, size)


def _middle_of_resized(picture: np.ndarray, model: ModelConfig) -> np.ndarray:
    """The middle of the resized picture, pixel by pixel as torchvision and timm cut it out."""
    rows, columns = picture.shape[:2]
    tall, wide = (int(side / model.crop_share + 1e-9) for side in (model.image_height, model.image_width))
    if model.fit == "shortest" and tall == wide:
        tall, wide = (tall, int(tall * columns / rows)) if rows <= columns else (int(tall * rows / columns), tall)
    elif model.fit == "shortest":
        smaller = min(rows / tall, columns / wide)
        tall, wide = round(rows / smaller), round(columns / smaller)
    if tall * wide > MOST_PIXELS:
        raise PictureError(f"A picture of {columns} x {rows} is too long for the model {model.name!r}.")
    large = resized(picture, tall, wide, model.interpolation)
    top, left = round((tall - model.image_height) / 2), round((wide - model.image_width) / 2)
    return np.ascontiguousarray(large[top:top + model.image_height, left:left + model.image_width])
