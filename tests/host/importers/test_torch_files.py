# SPDX-License-Identifier: Apache-2.0
"""Files of torch.save: pickles are refused and not executed, damaged ones end in a named error."""

import argparse
import io
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.files.errors import (
    BadHeader,
    MissingFile,
    ModelFileError,
    PickleRefused,
    TruncatedFile,
    UnknownLayout,
    WrongDtype,
)
from host.importers import import_checkpoint
from tests.host.importers.test_malformed_files import LAYOUTS, refused


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (Path(self.target),)


def tensors():
    return {name: torch.from_numpy(np.array(array)) for name, array in LAYOUTS["timm"]().items()}


def torch_bytes(value, **how):
    buffer = io.BytesIO()
    torch.save(value, buffer, **how)
    return buffer.getvalue()


def zip_with_foreign_pickle(payload):
    """A torch archive whose ``data.pkl`` was replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_bytes(tensors()))) as old, zipfile.ZipFile(buffer, "w") as new:
        for item in old.infolist():
            new.writestr(item, pickle.dumps(payload) if item.filename.endswith("data.pkl") else old.read(item))
    return buffer.getvalue()


PICKLES = {
    "raw_pickle": lambda evil: pickle.dumps(evil, protocol=2),
    "raw_pickle_of_today": lambda evil: pickle.dumps({"state_dict": evil}),
    "torch_archive": lambda evil: torch_bytes({"state_dict": tensors(), "best_result": evil}),
    "torch_archive_under_a_key": lambda evil: torch_bytes({**tensors(), "extra": [evil]}),
    "torch_legacy": lambda evil: torch_bytes({"model": tensors(), "args": evil}, _use_new_zipfile_serialization=False),
    "replaced_inside_archive": zip_with_foreign_pickle,
}


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".bin", ".pkl"])
@pytest.mark.parametrize("case", PICKLES)
def test_pickles_are_refused_and_not_executed(case, suffix, tmp_path):
    target, path = tmp_path / "executed", tmp_path / f"a{suffix}"
    path.write_bytes(PICKLES[case](Payload(target)))
    refused(path, PickleRefused, "give --trust-pickle", heads=1)
    assert not target.exists(), "the payload ran"


def test_the_payload_would_have_run(tmp_path):
    """The assertion above can fail: the same bytes do create the file where they are trusted."""
    target, path = tmp_path / "executed", tmp_path / "a.pth"
    path.write_bytes(PICKLES["torch_archive"](Payload(target)))
    import_checkpoint(path, heads=1, trust_pickle=True)
    assert target.exists()


def test_a_trusted_pickle_of_training_arguments_is_read(tmp_path):
    path = tmp_path / "deit.pth"
    torch.save({"model": tensors(), "args": argparse.Namespace(lr=1e-3)}, path)
    refused(path, PickleRefused, "argparse.Namespace", heads=1)
    assert import_checkpoint(path, heads=1, trust_pickle=True).config.dim == 32


def bomb():
    """A tensor of 10^12 elements over a storage of one."""
    return torch.zeros(1).expand(10**6, 10**6)


TORCH_FILES = {
    "empty": (lambda: b"", UnknownLayout, "it starts with b''"),
    "text": (lambda: b"<html>404</html>", UnknownLayout, "no checkpoint known here"),
    "git_lfs_pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", MissingFile,
                        "fetch it with 'git lfs pull'"),
    "archive_cut": (lambda: torch_bytes(tensors())[:-300], TruncatedFile, "cut short"),
    "archive_start": (lambda: b"PK\x03\x04", TruncatedFile, "cut short"),
    "other_archive": (lambda: plain_zip(), BadHeader, "cannot be read as a file of torch.save"),
    "legacy_cut": (lambda: torch_bytes(tensors(), _use_new_zipfile_serialization=False)[:-3000], ModelFileError, ""),
    "legacy_start": (lambda: b"\x80\x02", TruncatedFile, "ends before its content does"),
    "a_list": (lambda: torch_bytes([torch.ones(2)]), UnknownLayout, "a dictionary of tensors, not a list"),
    "a_tensor": (lambda: torch_bytes(torch.ones(2)), UnknownLayout, "a dictionary of tensors, not a Tensor"),
    "no_tensors": (lambda: torch_bytes({"epoch": 3}), UnknownLayout, "its 0 tensors"),
    "sparse": (lambda: torch_bytes({**tensors(), "pos_embed": torch.eye(5).to_sparse()}), WrongDtype, "dense tensor"),
    "complex": (lambda: torch_bytes({**tensors(), "pos_embed": torch.ones(5, dtype=torch.complex64)}), WrongDtype,
                "floating-point numbers, not complex64"),
    "float8": (lambda: torch_bytes({**tensors(), "pos_embed": torch.ones(5).to(torch.float8_e4m3fn)}), WrongDtype,
               "float8"),
    "compression_bomb": (lambda: compressed(torch_bytes(tensors())), BadHeader, "an archive without compression"),
    "memory_bomb": (lambda: torch_bytes({**tensors(), "pos_embed": bomb()}), BadHeader,
                    "claims 1000000000000 elements; its storage has 4 bytes"),
}


def compressed(archive):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            new.writestr(item.filename, bytes(10**6) if item.filename.endswith("data/0") else old.read(item))
    return buffer.getvalue()


def plain_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize("case", TORCH_FILES)
def test_torch_files_that_do_not_fit_are_refused(case, tmp_path):
    make, error, words = TORCH_FILES[case]
    path = tmp_path / "a.pth"
    path.write_bytes(make())
    if error is ModelFileError:
        with pytest.raises(ModelFileError):
            import_checkpoint(path, heads=1)
    else:
        refused(path, error, words, heads=1)


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
def test_torch_reader_survives_byte_level_fuzz(legacy, tmp_path):
    rng, path, refusals = random.Random(30), tmp_path / "a.pth", 0
    small = {"model": {"blocks.0.attn.qkv.weight": torch.ones(2, 2), "x": torch.ones(3).bfloat16()}}
    good = torch_bytes(small, _use_new_zipfile_serialization=not legacy)
    for _ in range(250):
        data = bytearray(good)
        for _ in range(rng.choice((1, 2, 4))):
            at = rng.randrange(len(data))
            if rng.random() < 0.7:
                data[at] = rng.randrange(256)
            elif rng.random() < 0.5:
                del data[at:at + rng.randrange(1, 9)]
            else:
                del data[at:]
                data = data or bytearray(1)
        path.write_bytes(bytes(data))
        try:
            import_checkpoint(path, heads=1)
        except ModelFileError:
            refusals += 1
    assert refusals == 250  # two tensors are no model, even when the damage went unnoticed
