# SPDX-License-Identifier: Apache-2.0
"""Commands scenes, train and evaluate on small things: what they write and print, how they refuse."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from golden.model.store import load_float, read_notes, save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import NANO
from host import models
from host.cli import main
from host.driver.device import device_names
from host.scenes import cache
from host.training import finetune, job
from host.training.recipe import Recipe
from tests.host.training.test_loop import CONFIG

SMALL = ["--steps", "2", "--batch", "2", "--processes", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve scenes of 32 x 64 pixels."""
    root = tmp_path_factory.mktemp("scenes")
    with pytest.raises(SystemExit):
        main(["scenes", "-o", str(root), "--count", "12", "--seed", "3", "--size", "32x64", "--json"])
    return root


@pytest.fixture
def call(capsys):
    """Run a command; its exit status, standard output and error output."""
    def called(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        return (end.value.code, *capsys.readouterr())
    return called


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """The street model is a nano one, and no trained one comes with the package."""
    small = replace(CONFIG, task_heads=(replace(CONFIG.task_heads[0], classes=7), CONFIG.task_heads[1]))
    monkeypatch.setattr(finetune, "STREET", small)
    monkeypatch.setattr(job, "STREET", small)
    monkeypatch.setattr(cache, "CHUNK", 2)
    monkeypatch.setattr(models, "STREET_MODEL", models.STREET_MODEL.with_name("absent"))


def test_scenes(folder, call):
    assert len(list((folder / "image").iterdir())) == len(list((folder / "depth").iterdir())) == 12
    code, out, _ = call("scenes", "-o", folder, "--count", "12", "--seed", "3", "--size", "32x64", "--json")
    assert code == 0 and json.loads(out)["rendered"] == 0


def test_scenes_are_trained_on_in_two_stages_that_go_on(call, tmp_path, monkeypatch):
    first = Recipe(steps=2, batch=2, warmup=0, scenes=4, validation_scenes=2)
    monkeypatch.setattr(job, "Recipe", lambda: first)
    monkeypatch.setattr(job, "FINISHING", replace(first, steps=3, scenes=6, depth_unit=5.0))
    command = ["train", "-o", tmp_path / "a.safetensors", "--work", tmp_path / "run", "--processes", "1"]
    code, out, error = call(*command, "--json")
    assert code == 0, error
    notes, model = read_notes(tmp_path / "a.safetensors"), load_float(tmp_path / "a.safetensors")
    assert notes["steps"] == 2 and notes["finishing"]["steps"] == 3 and notes["finishing"]["depth_unit"] == 5.0
    assert notes["figures"]["step"] == 3 and json.loads(out)["steps"] == 2
    shutil.rmtree(tmp_path / "run" / "finishing")
    assert call(*command, "--resume")[0] == 0
    again = load_float(tmp_path / "a.safetensors")
    assert all((again.tensors[name] == tensor).all() for name, tensor in model.tensors.items())


@pytest.mark.parametrize("size", ["33x64", "32", "axb", "0x16"])
def test_sizes_are_refused(size, tmp_path, call):
    code, _, err = call("scenes", "-o", tmp_path, "--size", size)
    assert code == 2 and err.startswith("edge-moe: ConfigError:") and err.count("\n") == 1


@pytest.mark.slow
def test_fine_tuning_and_evaluation(folder, tmp_path, call):
    model = tmp_path / "tuned.safetensors"
    code, out, _ = call("train", "-o", model, "--data", folder, *SMALL, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["steps"] == 2 and 0 <= facts["miou"] <= 1 and "road" in facts["iou_of_classes"]
    config, notes = load_float(model).config, read_notes(model)
    assert config.name == "tuned" and [h.classes for h in config.task_heads] == [7, 1]
    assert notes["recipe"]["steps"] == 2 and notes["classes"][0] == "road" and notes["figures"]["step"] == 2
    code, out, _ = call("evaluate", model, "--data", folder, "--json")
    assert code == 0 and json.loads(out)["pictures"] == 12
    code, out, _ = call("evaluate", model, "--data", folder)
    assert code == 0 and "iou vegetation" in out and "log rmse" in out
    code, out, _ = call("train", "-o", tmp_path / "more.safetensors", "--data", folder, "--validation", folder,
                        "--init", model, *SMALL, "--json")
    assert code == 0 and len(load_float(tmp_path / "more.safetensors").tensors) == len(load_float(model).tensors)


def test_training_on_scenes_goes_on(tmp_path, call, monkeypatch):
    monkeypatch.setattr(job, "Recipe", lambda: Recipe(scenes=4, validation_scenes=2, batch=2))
    arguments = ["train", "-o", tmp_path / "a.safetensors", "--work", tmp_path / "work", "--processes", "1", "--json"]
    assert json.loads(call(*arguments, "--steps", "1")[1])["steps"] == 1
    assert json.loads(call(*arguments, "--steps", "3", "--resume")[1])["steps"] == 3
    assert (tmp_path / "work" / "checkpoint.pt").exists()


def test_a_folder_with_labels_only(folder, tmp_path, call):
    for kind in ("image", "label"):
        (tmp_path / kind).symlink_to(folder / kind)
    code, out, _ = call("train", "-o", tmp_path / "a.safetensors", "--data", tmp_path, *SMALL, "--classes", "7",
                        "--json")
    assert code == 0 and load_float(tmp_path / "a.safetensors").config.tasks == ("semseg",)
    assert "rmse" not in json.loads(out)


def test_refusals(folder, tmp_path, call):
    model = tmp_path / "a.safetensors"
    assert "holds no checkpoint.pt" in call("train", "-o", model, "--data", folder, "--resume", *SMALL)[2]
    assert "folder image" in call("train", "-o", model, "--data", tmp_path)[2]
    assert "No model comes with this checkout" in call("evaluate")[2]
    bare = tmp_path / "bare.safetensors"
    save_float(synthetic_model(NANO), bare)
    assert "has no task heads" in call("evaluate", bare)[2]
    said = call("evaluate", bare, "--device", "gloden")[2]
    assert f"installed are {', '.join(sorted({*device_names(), 'float'}))}; the nearest one is golden." in said
    (tmp_path / "image").symlink_to(folder / "image")
    assert "nothing to learn" in call("train", "-o", model, "--data", tmp_path, *SMALL)[2]


def test_nothing_heavy_is_imported_for_help():
    code = "import sys, host.cli; print([m for m in ('torch', 'skimage', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
