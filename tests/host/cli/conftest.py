# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the command-line tests: a folder of small files, and the command in process."""

import os

import numpy as np
import pytest
import torch
from skimage.io import imsave

from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import NANO
from host.quantizer.crops import photograph
from tests.host.support import layouts
from tests.host.support.devices import CLASSIFIER, compiled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small files of every kind: float.safetensors, checkpoint.pth, int.safetensors, nano.emoe, cat.png ..."""
    root = tmp_path_factory.mktemp("cli")
    model = layouts.rounded(synthetic_model(NANO, seed=2))
    save_float(model, root / "float.safetensors")
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in layouts.m3vit(model).items()}
    torch.save({"state_dict": tensors}, root / "checkpoint.pth")
    network, image = compiled()
    network.save(root / "int.safetensors")
    (root / "nano.emoe").write_bytes(image.to_bytes())
    (root / "program.bin").write_bytes(image.to_bytes())
    compiled(CLASSIFIER)[0].save(root / "classifier.safetensors")
    imsave(root / "cat.png", photograph("chelsea")[:96, :128], check_contrast=False)
    (root / "words.txt").write_text("These are words.\n" * 10)
    (root / "words.png").write_text("These are words.\n" * 10)
    (root / "words.safetensors").write_text("These are words.\n" * 10)
    (root / "words.emoe").write_text("These are words.\n" * 10)
    (root / "cut.emoe").write_bytes(image.to_bytes()[:-4096])
    (root / "empty").write_bytes(b"")
    (root / "directory").mkdir()
    os.mkfifo(root / "pipe")
    for name in ("huge.emoe", "huge.safetensors", "huge.png"):
        (root / name).touch()
        os.truncate(root / name, 64 << 30)
    return root


@pytest.fixture
def edge_moe(folder, edge_moe, monkeypatch):
    """Runs ``edge-moe`` in process; words naming files of ``folder`` are found there. (status, stdout, stderr)."""
    monkeypatch.chdir(folder)
    return edge_moe
