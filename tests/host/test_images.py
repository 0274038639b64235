# SPDX-License-Identifier: Apache-2.0
"""Pictures: read, cropped and resized, or refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.io import imsave

from golden.spec.model import NANO
from host.images import PictureError, fitted, read_picture
from host.quantizer.crops import photograph


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_grey_colour_and_transparent_pictures_are_read(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    imsave(tmp_path / "a.png", pixels, check_contrast=False)
    found = read_picture(tmp_path / "a.png")
    assert found.shape == (20, 30, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, :, 0], pixels if pixels.ndim == 2 else pixels[:, :, 0])


def test_pictures_of_16_bits_and_broken_ones_are_refused(tmp_path):
    imsave(tmp_path / "deep.png", np.zeros((8, 8), np.uint16), check_contrast=False)
    with pytest.raises(PictureError, match="must be an 8-bit grey, RGB or RGBA picture, not uint16"):
        read_picture(tmp_path / "deep.png")
    imsave(tmp_path / "a.png", photograph("chelsea"), check_contrast=False)
    whole = (tmp_path / "a.png").read_bytes()
    for name, data in (("cut.png", whole[:len(whole) // 2]), ("head.png", whole[:20]),
                       ("bent.png", whole[:100] + bytes(50) + whole[150:])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=f"{name} is not a picture that can be read: "):
            read_picture(tmp_path / name)


def test_a_grey_model_gets_a_grey_picture():
    grey = replace(NANO, channels=1, pixel_mean=(0.0,), pixel_std=(1.0,))
    pixels = photograph("chelsea")
    assert fitted(pixels, grey).shape == (32, 64, 1)
    with pytest.raises(PictureError, match="looks at 2 channels; a picture has 1 or 3"):
        fitted(pixels, replace(NANO, channels=2, pixel_mean=(0.0,) * 2, pixel_std=(1.0,) * 2))
