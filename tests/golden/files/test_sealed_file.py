# SPDX-License-Identifier: Apache-2.0
"""Sealed files: whatever byte changes after writing, the file is refused or means the same."""

import random

import numpy as np
import pytest

from golden.files import safetensors_file
from golden.files.errors import DamagedFile, ModelFileError
from golden.files.sealed_file import SEAL
from golden.model.int_model import IntModel
from golden.model.random_int_model import random_int_model
from golden.model.store import load_float, save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import NANO

CHANGES = 400


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(file, how it is read) of a quantized and of a float model."""
    folder = tmp_path_factory.mktemp("sealed")
    random_int_model(NANO, seed=2).save(folder / "int.safetensors")
    save_float(synthetic_model(NANO, seed=2), folder / "float.safetensors")
    return {"int": (folder / "int.safetensors", IntModel.load), "float": (folder / "float.safetensors", load_float)}


def same(one, other):
    return (one.config == other.config and set(one.tensors) == set(other.tensors)
            and all(np.array_equal(one[name], other[name]) for name in one.tensors))


@pytest.mark.parametrize("kind", ["int", "float"])
def test_no_changed_byte_alters_a_model_silently(files, kind, tmp_path):
    path, read = files[kind]
    good, rng, refused = path.read_bytes(), random.Random(5), 0
    header = 8 + int.from_bytes(good[:8], "little")
    seal = range(good.index(SEAL.encode()), good.index(SEAL.encode()) + len(SEAL))
    wanted = read(path)
    for number in range(CHANGES):
        at = rng.randrange(8, header) if number % 2 else rng.randrange(len(good))
        if kind == "float" and at in seal:  # files of before have no checksum, and are read
            continue
        bad = bytearray(good)
        bad[at] ^= rng.randrange(1, 256)
        (tmp_path / "bad.safetensors").write_bytes(bad)
        try:
            found = read(tmp_path / "bad.safetensors")
        except ModelFileError as error:
            assert "bad.safetensors" in str(error)
            refused += 1
        else:
            assert same(found, wanted), f"byte {at} changed the model"
    assert refused > 0.9 * CHANGES


def test_the_message_says_what_is_wrong(files, tmp_path):
    path, read = files["int"]
    good = path.read_bytes()
    (tmp_path / "bad.safetensors").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DamagedFile, match=r"bad.safetensors was changed after it was written: its SHA-256 is"):
        read(tmp_path / "bad.safetensors")


def test_a_quantized_file_without_checksum_is_refused_and_a_float_one_read(files, tmp_path):
    for kind, (path, read) in files.items():
        tensors, metadata = safetensors_file.read(path)
        safetensors_file.write(tmp_path / path.name, tensors, {k: v for k, v in metadata.items() if k != SEAL})
        if kind == "float":
            assert same(read(tmp_path / path.name), read(path))
            continue
        with pytest.raises(DamagedFile, match="its metadata say nothing of it"):
            read(tmp_path / path.name)
