# SPDX-License-Identifier: Apache-2.0
"""Pictures: read upright and in their colours whatever the format, cropped and resized, or refused by name."""

import io
import os
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageChops, PngImagePlugin

from golden.spec.model import M3VIT_TINY, NANO
from host.images import MOST_PIXELS, SENT, PictureError, decode_picture, fitted, read_picture, resized
from host.quantizer.crops import photograph

ORIENTATION = 0x0112
UPRIGHT = {1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
           5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, -1),
           7: lambda p: np.rot90(p, 2).transpose(1, 0, 2), 8: lambda p: np.rot90(p, 1)}
"""What EXIF says of the stored rows and columns."""


@pytest.fixture
def colours():
    """uint8 [24, 40, 3]: smooth, with distinct corners, so that JPEG keeps it within a few steps."""
    down, across = np.mgrid[0:24, 0:40]
    return np.stack([down * 10, across * 6, 255 - across * 5], axis=2).astype(np.uint8)


def near(one, other, steps):
    assert one.shape == other.shape and one.dtype == np.uint8
    assert np.abs(one.astype(int) - other).max() <= steps


@pytest.mark.parametrize("mode, channels", [("L", 1), ("RGB", 3), ("RGBA", 4), ("LA", 2)])
def test_grey_colour_and_transparent_pictures_are_read(tmp_path, mode, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode=mode).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    wanted = pixels[:, :, :3] if channels > 2 else pixels[:, :, [0, 0, 0]]
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.uint8 and found.flags.writeable and found.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("turn", UPRIGHT)
def test_pictures_stand_upright_as_exif_says(tmp_path, colours, suffix, turn):
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    path = tmp_path / f"phone.{suffix}"
    Image.fromarray(colours).save(path, exif=exif, quality=95)
    near(read_picture(path), UPRIGHT[turn](colours), 16 if suffix in ("jpg", "webp") else 0)


def test_cmyk_pictures_keep_their_colours(tmp_path, colours):
    ink = Image.fromarray(colours).convert("CMYK")
    ink.save(tmp_path / "ink.tif")
    near(read_picture(tmp_path / "ink.tif"), colours, 1)
    ink.save(tmp_path / "adobe.jpg", quality=95)  # Pillow writes 255 for no ink, and Adobe's marker
    near(read_picture(tmp_path / "adobe.jpg"), colours, 24)
    ImageChops.invert(ink).save(tmp_path / "plain.jpg", quality=95)
    data = (tmp_path / "plain.jpg").read_bytes()
    marker = re.search(rb"\xff\xee\x00\x0eAdobe.{7}", data, re.DOTALL)
    (tmp_path / "plain.jpg").write_bytes(data[:marker.start()] + data[marker.end():])
    near(read_picture(tmp_path / "plain.jpg"), colours, 24)


def test_16_bits_become_8_and_1_bit_is_black_and_white(tmp_path):
    deep = np.array([[0, 1, 128, 129, 257, 32_768, 65_278, 65_535]], np.uint16).repeat(3, axis=0)
    wanted = np.rint(deep / 257)[:, :, None].repeat(3, axis=2).astype(np.uint8)
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        Image.fromarray(deep).save(tmp_path / name)
        np.testing.assert_array_equal(read_picture(tmp_path / name), wanted)
    bits = np.random.default_rng(0).random((9, 13)) < 0.5
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "bits.png"), 255 * bits[:, :, None].repeat(3, 2))


def test_of_an_animation_the_first_frame_counts(tmp_path):
    red, blue = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue, red])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.gif"), np.asarray(red))


def test_pictures_with_a_palette_get_its_colours(tmp_path, colours):
    painted = Image.fromarray(colours).quantize(64)
    painted.save(tmp_path / "a.png", transparency=3)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.asarray(painted.convert("RGB")))


def test_arrays_are_pictures_too(tmp_path, colours):
    grey = colours[:, :, 1:2]
    for array, wanted in ((colours, colours), (grey[:, :, 0], grey.repeat(3, 2)), (grey, grey.repeat(3, 2)),
                          (colours.astype(np.uint16) * 257, colours), (np.dstack([colours, grey]), colours),
                          (grey > 99, 255 * (grey > 99).repeat(3, 2))):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read_picture(tmp_path / "a.npy"), wanted)
    for array, said in ((colours / 255, r"not float64 \[24, 40, 3\]"), (colours.transpose(2, 0, 1), r"\[3, 24, 40\]"),
                        (colours[:0], r"\[0, 40, 3\]"), (np.array([{}]), "Array can't be memory-mapped")):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(PictureError, match=f"a.npy .*{said}"):
            read_picture(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_text("words")
    with pytest.raises(PictureError, match="a.npy is not a picture that can be read: "):
        read_picture(tmp_path / "a.npy")


def test_huge_files_and_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="pipe.png must be a picture file, not a folder, pipe or device"):
        read_picture(tmp_path / "pipe.png")
    for name in ("sparse.png", "sparse.npy"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(64 << 30)
        with pytest.raises(PictureError, match=f"{name} is not a picture that can be read: "):
            read_picture(tmp_path / name)
    (tmp_path / "large.ppm").write_bytes(b"P6\n100000 100000\n255\n")
    with pytest.raises(PictureError, match=f"large.ppm has more than {MOST_PIXELS:,} pixels: make it smaller first"):
        read_picture(tmp_path / "large.ppm")
    with open(tmp_path / "large.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 17, 1 << 17, 3)})
        file.truncate(64 << 30)
    with pytest.raises(PictureError, match=f"large.npy has more than {MOST_PIXELS:,} pixels: make it smaller first"):
        read_picture(tmp_path / "large.npy")


def test_pictures_of_32_bits_and_broken_ones_are_refused(tmp_path):
    for kind in (np.int32, np.float32):
        Image.fromarray(np.zeros((8, 8), kind)).save(tmp_path / "deep.tif")
        with pytest.raises(PictureError, match="deep.tif must have 1, 8 or 16 bits a channel, not 32"):
            read_picture(tmp_path / "deep.tif")
    Image.fromarray(photograph("chelsea")).save(tmp_path / "a.png")
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


def test_a_smaller_picture_holds_the_mean_of_what_it_covers():
    pixels = np.zeros((128, 256, 3), np.uint8)
    pixels[::2] = 200  # every other line: without antialiasing all or nothing
    assert set(np.unique(resized(pixels, 16, 32)[2:-2])) <= {99, 100, 101}


def test_a_picture_of_12_megapixels_is_fitted_in_a_blink():
    large = np.broadcast_to(np.arange(4000, dtype=np.uint8)[None, :, None], (3000, 4000, 3))
    began = time.process_time()
    fitted(large, M3VIT_TINY)
    assert time.process_time() - began < 0.8, "Pillow takes a tenth of a second on an idle core, scikit-image 2 to 6"


def saved(pixels, **how):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **how)
    return file.getvalue()


@pytest.mark.parametrize("kind", SENT)
def test_a_picture_that_was_sent_is_the_one_that_is_read(tmp_path, colours, kind):
    data = saved(colours, format=kind)
    (tmp_path / "a").write_bytes(data)
    np.testing.assert_array_equal(decode_picture(data, 24 * 40), read_picture(tmp_path / "a"))


def test_a_picture_that_was_sent_turned_or_deep(colours):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    assert decode_picture(saved(colours, format="JPEG", exif=exif), 1000).shape == (40, 24, 3)
    assert (decode_picture(saved(np.full((3, 4), 65_535, np.uint16), format="PNG"), 12) == 255).all()


def test_too_many_pixels_are_refused_before_any_is_decoded(colours, monkeypatch):
    data = saved(colours, format="PNG")

    def load(self):
        raise AssertionError("decoded")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(PictureError, match="^The picture has 40 x 24 pixels, more than 959: make it smaller first.$"):
        decode_picture(data, 24 * 40 - 1)


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO"])
def test_other_formats_are_not_taken_from_a_network(colours, kind):
    with pytest.raises(PictureError, match="^What came is no picture: it must be a file of PNG, JPEG, WEBP, BMP"):
        decode_picture(saved(colours, format=kind), 1 << 20)
