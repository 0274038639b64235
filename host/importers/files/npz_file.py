# SPDX-License-Identifier: Apache-2.0
"""Reader of numpy's ``.npz``, a zip of arrays, without pickle."""

import zipfile
from pathlib import Path

import numpy as np

from golden.files.errors import BadHeader, PickleRefused, WrongDtype

LARGEST = 16 << 30
"""Most bytes of content accepted; ViT-22B would be larger, ViT-g has 4 GiB."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file by its name. Arrays of Python objects are refused, since reading them runs code."""
    if not zipfile.is_zipfile(path):
        raise BadHeader(f"{path} must be a zip of numpy arrays; it has no directory of a zip. Copy the file again.")
    try:
        with zipfile.ZipFile(path) as archive:
            content = sum(item.file_size for item in archive.infolist())
            if content > LARGEST:
                raise BadHeader(f"{path} claims {content} bytes of content, more than the {LARGEST} allowed.")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except BadHeader:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error) or "pickle" in str(error):
            raise PickleRefused(f"{path} holds Python objects: reading them would execute what they contain. Wanted: "
                                f"arrays of numbers.") from None
        raise BadHeader(f"{path} must be a zip of numpy arrays: {error}.") from None
    except Exception as error:  # zipfile and zlib raise several types for damaged files
        raise BadHeader(f"{path} must be a zip of numpy arrays: {error}.") from None
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise WrongDtype(f"{path}: {name!r} must hold plain numbers, not {array.dtype}.")
    return arrays
