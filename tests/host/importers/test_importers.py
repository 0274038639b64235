# SPDX-License-Identifier: Apache-2.0
"""Each importer gives back, bit for bit, a model written in its layout; what a checkpoint cannot tell is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.files.errors import (
    AmbiguousModel,
    UnsupportedModel,
    WrongShape,
)
from golden.model.float_model import run_float
from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import NANO, GateKind, ModelConfig
from host.importers import import_checkpoint
from host.importers.resize import KINDS, resize_positions
from tests.host.support import layouts
from tests.host.support.checkpoints import DEIT, DISTILLED, GIVEN, MOE, made, same, save_safe


class TestEdgeMoe:
    def test_folder(self, tmp_path):
        model = made(replace(MOE, pixel_scale=256.0))
        layouts.edge_moe(model, tmp_path)
        np.zeros(3, "<f4").tofile(tmp_path / "image.float32.bin")
        np.zeros(3, "<f4").tofile(tmp_path / "l3_x_post_moe.float32.bin")
        same(import_checkpoint(tmp_path, **GIVEN), model)

    def test_published_dimensions_need_no_options(self, tmp_path):
        config = ModelConfig(name="m", depth=2, moe_layers=(1,))
        model = synthetic_model(config)
        layouts.edge_moe(model, tmp_path)
        same(import_checkpoint(tmp_path), model)

    def test_task_names_may_be_given(self, tmp_path):
        layouts.edge_moe(made(MOE), tmp_path)
        found = import_checkpoint(tmp_path, tasks=("semseg", "depth"), **GIVEN)
        assert found.config.tasks == ("semseg", "depth")
        assert np.array_equal(found["blocks.1.gate.depth.weight"], made(MOE)["blocks.1.gate.task1.weight"])
        with pytest.raises(AmbiguousModel, match="gates for 2 tasks, 1 names were given"):
            import_checkpoint(tmp_path, tasks=("one",), **GIVEN)

    def test_other_dimensions_ask(self, tmp_path):
        layouts.edge_moe(made(MOE), tmp_path)
        for name in GIVEN:
            with pytest.raises(AmbiguousModel, match=f"give --{name.replace('_', '-')}"):
                import_checkpoint(tmp_path, **{key: value for key, value in GIVEN.items() if key != name})


class TestImageSize:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("old, new", [((8, 16), (30, 40)), ((14, 14), (7, 9)), ((3, 5), (6, 10)), ((1, 4), (2, 1))])
    def test_equals_torch(self, old, new, kind):
        rows = np.random.default_rng(0).standard_normal((old[0] * old[1], 32)).astype(np.float32)
        grid = torch.from_numpy(rows).double().reshape(1, *old, 32).permute(0, 3, 1, 2)
        wanted = F.interpolate(grid, new, **{"align_corners": False} | KINDS[kind]).permute(0, 2, 3, 1).reshape(-1, 32)
        np.testing.assert_allclose(resize_positions(rows, old, new, kind), wanted, rtol=0, atol=1e-5)

    def test_import_at_another_size_keeps_the_extra_rows(self, tmp_path):
        model = made(DISTILLED)
        path = save_safe(tmp_path / "a.safetensors", layouts.timm(model))
        found = import_checkpoint(path, heads=2, image=(32, 96))
        assert (found.config.image_height, found.config.image_width, found.config.tokens) == (32, 96, 14)
        assert np.array_equal(found["pos_embed"][:2], model["pos_embed"][:2])
        assert np.array_equal(found["pos_embed"][2:], resize_positions(
            model["pos_embed"][2:], (4, 4), (2, 6), "bicubic_antialias"))
        assert run_float(found, np.zeros((1, 32, 96, 3), np.uint8)).shape == (1, 14, 64)

    def test_same_number_of_patches_is_ambiguous(self, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.timm(made(DEIT)))
        with pytest.raises(AmbiguousModel, match="give --source-image"):
            import_checkpoint(path, heads=2, image=(32, 128))
        kept = import_checkpoint(path, heads=2, image=(32, 128), source_image=(32, 128))
        assert np.array_equal(kept["pos_embed"], made(DEIT)["pos_embed"])
        turned = import_checkpoint(path, heads=2, image=(32, 128), source_image=(64, 64))
        assert not np.array_equal(turned["pos_embed"], made(DEIT)["pos_embed"])

    def test_unknown_grid_is_ambiguous_and_a_wrong_one_refused(self, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.m3vit(made(MOE)))
        with pytest.raises(AmbiguousModel, match="give --source-image"):
            import_checkpoint(path, heads=2, top_k=2, image=(128, 128))
        with pytest.raises(WrongShape, match="16 patches of 16 x 16; the checkpoint's 'pos_embed' has 24"):
            import_checkpoint(path, heads=2, top_k=2, source_image=(64, 64))
        found = import_checkpoint(path, heads=2, top_k=2, source_image=(64, 96), image=(128, 128))
        assert found.config.patches == 64

    def test_size_that_is_no_multiple_of_the_patch_is_refused(self, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.timm(made(DEIT)))
        with pytest.raises(UnsupportedModel, match="whole number of 16 x 16 patches"):
            import_checkpoint(path, heads=2, image=(70, 64))


class TestOurs:
    def test_file_comes_back_and_may_be_changed(self, tmp_path):
        model, path = synthetic_model(NANO), tmp_path / "m.safetensors"
        save_float(model, path)
        same(import_checkpoint(path), model)
        found = import_checkpoint(path, name="other", top_k=1, image=(64, 64), gate="topk_then_softmax")
        assert found.config == replace(NANO, name="other", top_k=1, image_height=64, gate=GateKind.TOPK_THEN_SOFTMAX)
        with pytest.raises(UnsupportedModel, match="top_k must lie in 1..4, not 9"):
            import_checkpoint(path, top_k=9)


def test_several_tasks_of_a_model_without_gates_are_refused(tmp_path):
    path = save_safe(tmp_path / "a.safetensors", layouts.timm(made(DEIT)))
    with pytest.raises(AmbiguousModel, match="has no gates, .* 2 names were given, one, two"):
        import_checkpoint(path, heads=2, tasks=("one", "two"))
    assert import_checkpoint(path, heads=2, tasks=("one",)).config.tasks == ("one",)
