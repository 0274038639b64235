# SPDX-License-Identifier: Apache-2.0
"""What an importer refuses, each with the name of what it met."""

from dataclasses import replace

import numpy as np
import pytest

from golden.files import safetensors_file
from golden.files.errors import MissingFile, UnexpectedTensor, UnknownLayout, UnsupportedModel
from golden.model.synthetic import synthetic_model
from golden.spec.model import DEIT_TINY, ConfigError
from host.importers import import_checkpoint
from tests.host.support import layouts

DEIT = replace(DEIT_TINY, name="deit", image_height=64, image_width=64, dim=64, depth=3, heads=2, mlp_hidden=128,
               classes=10)


def made(config, seed=1):
    return layouts.rounded(synthetic_model(config, seed))


def save_safe(path, state):
    safetensors_file.write(path, state)
    return path


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UnknownLayout, match="matches no layout known here"):
        import_checkpoint(save_safe(tmp_path / "a.safetensors", {"conv1.weight": np.zeros((3, 3), np.float32)}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownLayout, match="holds no checkpoint known here"):
        import_checkpoint(tmp_path / "empty")
    with pytest.raises(MissingFile, match="There is no file or folder"):
        import_checkpoint(tmp_path / "absent.pth")


@pytest.mark.parametrize("bad", [{"gate": "best"}, {"image": (64,)}, {"image": "64x64"}, {"source_image": (0, 64)},
                                 {"tasks": "depth"}], ids=str)
def test_options_of_the_wrong_kind_are_refused(bad, tmp_path):
    with pytest.raises(ConfigError, match=f"{next(iter(bad))} must be"):
        import_checkpoint(tmp_path, **bad)


def test_impossible_heads_are_refused(tmp_path):
    path = save_safe(tmp_path / "a.safetensors", layouts.timm(made(DEIT)))
    with pytest.raises(UnsupportedModel, match="dim 64 must be a multiple of heads 3"):
        import_checkpoint(path, heads=3)
    with pytest.raises(UnexpectedTensor, match="blocks.0.attn.extra"):
        state = layouts.timm(made(DEIT)) | {"blocks.0.attn.extra": np.zeros(3, np.float32)}
        import_checkpoint(save_safe(path, state), heads=2)
