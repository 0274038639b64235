# SPDX-License-Identifier: Apache-2.0
"""Writers of numpy's files, whole or not at all, under exactly the name given."""

from pathlib import Path

import numpy as np

from golden.spec.whole_file import write_whole


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one array."""
    def save(part: Path) -> None:
        with part.open("wb") as file:  # by name numpy would add a suffix
            np.save(file, array)

    write_whole(path, save)


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name, compressed; never as pickles."""
    def save(part: Path) -> None:
        with part.open("wb") as file:  # by name numpy would add a suffix
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_whole(path, save)
