# SPDX-License-Identifier: Apache-2.0
"""Safetensors files with a SHA-256 in the metadata, over the values of all tensors and of the other metadata.

A byte that changes after the file was written is found when it is read, or changes nothing (spaces of the header).
"""

import hashlib
import json
import os

import numpy as np

from golden.files import safetensors_file
from golden.files.errors import DamagedFile

SEAL = "sha256"
"""Name of the checksum in the metadata."""


def write_sealed(path: str | os.PathLike, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write a file, whole or not at all, as :func:`golden.files.safetensors_file.write` does, with its checksum."""
    safetensors_file.write(path, tensors, metadata | {SEAL: _digest(tensors, metadata)})


def check_seal(path: str | os.PathLike, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Raise :class:`DamagedFile` unless what was read from ``path`` is what was written, checksum included."""
    wanted = metadata.get(SEAL)
    found = _digest(tensors, {name: text for name, text in metadata.items() if name != SEAL})
    if wanted != found:
        raise DamagedFile(f"{os.fspath(path)} was changed after it was written: its SHA-256 is {found[:16]}..., its "
                          f"metadata say {'nothing of it' if wanted is None else ascii(wanted[:16])}. Copy the file "
                          f"again, or make it anew.")


def _digest(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """Depends on the values only, never on the order of the dictionaries or of an element's bytes."""
    about = {name: [str(array.dtype.newbyteorder("<")), *array.shape] for name, array in tensors.items()}
    digest = hashlib.sha256(json.dumps([metadata, about], sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data)
    return digest.hexdigest()
