# SPDX-License-Identifier: Apache-2.0
"""Folder of pictures: ``image/STEM.jpg|png``, ``label/STEM.png`` (class of each pixel), ``depth/STEM.png`` (16 bit).

``label`` and ``depth`` may be absent. ``dataset.json``, optional: ``classes`` (names), ``colours`` (three numbers
each), ``ignore`` (label that counts nowhere), ``depth_scale`` (metres of one code of a depth picture; code 0: unknown).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from host.images import PictureError, read_picture, resized
from host.scenes.classes import DEPTH_STEP, IGNORE

DESCRIPTION = "dataset.json"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


class FolderError(PictureError):
    """A folder that is no set of pictures; the message says what was wanted."""


@dataclass(frozen=True)
class Sample:
    """A picture uint8 [H, W, 3], labels uint8 [H, W] with 255 for ignored pixels, depth in metres, 0 unknown."""

    name: str
    image: np.ndarray
    label: np.ndarray | None
    depth: np.ndarray | None

    def at_size(self, height: int, width: int) -> "Sample":
        """The sample at another size: the picture as models get theirs, labels and depths of the nearest pixels."""
        if self.image.shape[:2] == (height, width):
            return self
        rows = (np.arange(height) * 2 + 1) * self.image.shape[0] // (2 * height)
        columns = (np.arange(width) * 2 + 1) * self.image.shape[1] // (2 * width)
        label, depth = (None if m is None else m[rows][:, columns] for m in (self.label, self.depth))
        return Sample(self.name, resized(self.image, height, width), label, depth)


@dataclass(frozen=True)
class Folder:
    """A set of pictures on disk. ``classes`` are names, ``colours`` show them, ``ignore`` is the label not counted.

    Labels of :meth:`read` are classes or 255.
    """

    path: Path
    images: tuple[Path, ...]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    ignore: int
    depth_scale: float
    has_labels: bool
    has_depth: bool

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> Sample:
        """Picture ``index`` with what belongs to it. Raises :class:`PictureError`."""
        path = self.images[index]
        image = read_picture(path)
        label = self._map("label", path, image) if self.has_labels else None
        depth = self._map("depth", path, image) if self.has_depth else None
        if label is not None:
            label = np.where(label == self.ignore, IGNORE, label).astype(np.uint8)
            wrong = (label >= len(self.classes)) & (label != IGNORE)
            if wrong.any():
                raise FolderError(f"{path.name}: label {int(label[wrong][0])} is none of {len(self.classes)} classes "
                                  f"nor the ignored label {self.ignore}: give --classes or --ignore, or a "
                                  f"{DESCRIPTION}.")
        if depth is not None:
            depth = depth.astype(np.float32) * np.float32(self.depth_scale)
        return Sample(path.stem, image, label, depth)

    def _map(self, kind: str, path: Path, image: np.ndarray) -> np.ndarray:
        from skimage.io import imread
        file = self.path / kind / f"{path.stem}.png"
        try:
            values = np.asarray(imread(file))
        except Exception as error:  # decoders raise whatever they like
            raise FolderError(f"{file} is not a picture that can be read: {error}") from None
        if values.shape != image.shape[:2] or values.dtype.kind != "u":
            raise FolderError(f"{file} must have one whole number for each of {image.shape[0]} x {image.shape[1]} "
                              f"pixels, not {values.dtype} {values.shape}.")
        return values


def open_folder(path: str | Path, classes: int | tuple[str, ...] | None = None, ignore: int | None = None) -> Folder:
    """The set of pictures in a folder. ``classes`` (their number or names) and ``ignore`` overrule ``dataset.json``.

    Without either, the labels of all pictures tell the number of classes. Raises :class:`FolderError`.
    """
    path = Path(path)
    images = tuple(sorted(p for p in (path / "image").glob("*") if p.suffix.lower() in SUFFIXES))
    if not images:
        raise FolderError(f"{path} must have a folder image with pictures {', '.join(SUFFIXES)}; there are none.")
    about = _description(path / DESCRIPTION)
    ignore = about.get("ignore", IGNORE) if ignore is None else ignore
    named = about.get("classes", ()) if classes is None else classes
    found = Folder(path, images, (), (), ignore, about.get("depth_scale", DEPTH_STEP),
                   (path / "label").is_dir(), (path / "depth").is_dir())
    if found.has_labels and not named:
        named = _count(found)
    names = tuple(f"class {i}" for i in range(named)) if isinstance(named, int) else tuple(named)
    colours = about.get("colours", ())
    colours = tuple(tuple(c) for c in colours) if len(colours) == len(names) else tuple(map(_colour, range(len(names))))
    return replace(found, classes=names, colours=colours)


def _description(file: Path) -> dict:
    if not file.exists():
        return {}
    try:
        about = json.loads(file.read_text())
    except ValueError as error:
        raise FolderError(f"{file} must be JSON: {error}.") from None
    kinds = {"classes": list, "colours": list, "ignore": int, "depth_scale": (int, float)}
    wrong = [key for key, kind in kinds.items() if key in about and not isinstance(about[key], kind)] \
        if isinstance(about, dict) else ["everything"]
    if wrong:
        raise FolderError(f"{file}: {', '.join(wrong)} must be of another type: {list(kinds)} are two lists, a whole "
                          f"number and a number.")
    return about


def _count(folder: Folder) -> int:
    """One more than the largest label that is not ignored."""
    probe = replace(folder, classes=("?",) * 255)
    labels = (probe.read(i).label for i in range(len(probe)))
    return max(int(label[label != IGNORE].max(initial=0)) for label in labels if label is not None) + 1


def _colour(index: int) -> tuple[int, int, int]:
    """Distinct colours by the bits of ``index``, as PASCAL VOC assigns them."""
    index += 1
    red, green, blue = (sum((index >> (3 * bit + c) & 1) << (7 - bit) for bit in range(3)) for c in range(3))
    return red, green, blue
