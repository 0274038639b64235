# SPDX-License-Identifier: Apache-2.0
"""Every command on small things: what it writes and what it prints."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden.model.int_model import IntModel, dequantize
from golden.model.nested import narrow
from golden.model.scales import scaled
from golden.model.store import load_float, save_float
from golden.model.synthetic import synthetic_model
from golden.spec.machine import NANO as MACHINE
from golden.spec.machine import ZCU102
from golden.spec.model import NANO
from golden.spec.program.image import Image
from host import cli
from host.cli import main
from host.compiler.compile import compile_model
from host.images import fitted, read_picture
from tests.host.support.commands import facts
from tests.host.support.devices import CLASSIFIER, compiled

COMMANDS = ("import", "quantize", "compile", "run", "accuracy", "disasm", "info")


def test_help_lists_every_command(edge_moe):
    status, out, _ = edge_moe("--help")
    assert status == 0 and all(f" {name} " in out for name in COMMANDS)
    for name in set(COMMANDS) - {"accuracy"}:
        status, out, _ = edge_moe(name, "--help")
        assert status == 0 and "Usage: " in out and ("--json" in out or name == "disasm")


def test_import_quantize_compile_run(edge_moe, folder, tmp_path):
    """The whole flow, from a checkpoint to features, each step by its command."""
    model, integer = tmp_path / "float.safetensors", tmp_path / "int.safetensors"
    program, features = tmp_path / "mine.emoe", tmp_path / "features.npy"
    found = facts(edge_moe, "import", "checkpoint.pth", "-o", model, "--heads", 2, "--top-k", 2, "--image", "32x64",
                  "--tasks", "depth,seg", "--name", "mine")
    assert found["model"] == "mine" and found["tasks"] == "depth, seg" and found["tokens"] == 33
    assert found["parameters"] == sum(t.size for t in load_float(model).tensors.values())
    found = facts(edge_moe, "quantize", model, "-o", integer, "--crops", 2)
    assert found["plan"] == "fast" and found["calibration_pictures"] == 2 and found["bytes"] == integer.stat().st_size
    found = facts(edge_moe, "compile", integer, "-o", program, "--machine", "nano")
    assert found["fingerprint"] == f"0x{MACHINE.fingerprint:016x}" and "seg (" in found["programs"]
    network = IntModel.load(integer)
    assert program.read_bytes() == compile_model(network, MACHINE).to_bytes()
    pixels = fitted(read_picture(folder / "cat.png"), network.config)
    assert pixels.shape == (32, 64, 3) and pixels.std() > 10
    for source in (integer, program):
        found = facts(edge_moe, "run", source, "cat.png", "--device", "golden", "--machine", "nano", "--task", "seg",
                      "-o", features)
        wanted = dequantize(network.run(pixels, "seg"))
        np.testing.assert_array_equal(np.load(features), wanted)
        assert found["device"] == "golden:nano" and found["task"] == "seg" and found["features"] == [33, 64]
        assert found["cycles"] is None and found["milliseconds"] is None and found["written"] == str(features)
        assert found["mean"] == float(wanted.mean())


def test_quantize_takes_pictures_of_ones_own_and_a_plan(edge_moe, tmp_path):
    target = tmp_path / "q.safetensors"
    found = facts(edge_moe, "quantize", "float.safetensors", "-o", target, "--plan", "accurate", "--images", "cat.png",
                  "--images", "cat.png")
    assert found["calibration_pictures"] == 2
    assert IntModel.load(target).plan.layers[0].norm1


def test_run_without_a_task_or_a_machine_takes_the_first(edge_moe, tmp_path, folder):
    found = facts(edge_moe, "run", "nano.emoe", "cat.png", "-o", tmp_path / "features.npy")
    assert found["task"] == "task0" and found["device"] == "golden:nano"
    network = compiled()[0]
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"),
                                  dequantize(network.run(fitted(read_picture(folder / "cat.png"), NANO), "task0")))
    assert facts(edge_moe, "run", "program.bin", "cat.png")["device"] == "golden:nano"


def test_run_of_several_tasks_stacks_them(edge_moe, tmp_path, folder):
    found = facts(edge_moe, "run", "nano.emoe", "cat.png", "--task", "task0+task1", "-o", tmp_path / "both.npy")
    pixels = fitted(read_picture(folder / "cat.png"), NANO)
    wanted = np.stack([dequantize(compiled()[0].run(pixels, task)) for task in ("task0", "task1")])
    np.testing.assert_array_equal(np.load(tmp_path / "both.npy"), wanted)
    assert found["features"] == [2, 33, 64]


def test_run_of_a_classifier_names_the_best_classes(edge_moe, folder):
    found = facts(edge_moe, "run", "classifier.safetensors", "cat.png", "--machine", "nano")
    network = compiled(CLASSIFIER)[0]
    scores = dequantize(network.logits(network.run(fitted(read_picture(folder / "cat.png"), CLASSIFIER)))).mean(axis=0)
    assert found["top_classes"][0] == {"class": scores.argmax(), "score": float(scores.max())}
    assert len(found["top_classes"]) == 5


def test_a_pooled_classifier_from_checkpoint_to_scores(edge_moe, tmp_path, folder):
    """Import keeps it, run gives the integer network's scores and features before and after the final norm."""
    config = replace(CLASSIFIER, name="pooled", pool="mean", extra_tokens=1, classes=7)
    model = synthetic_model(config)
    save_float(model, tmp_path / "pooled.safetensors")
    found = facts(edge_moe, "info", tmp_path / "pooled.safetensors")
    assert found["classes"] == 7 and found["classifier_reads"] == "the mean of the patches"
    program, q = tmp_path / "p.emoe", tmp_path / "q.safetensors"
    facts(edge_moe, "quantize", tmp_path / "pooled.safetensors", "-o", q, "--crops", 4)
    facts(edge_moe, "compile", q, "-o", program, "--machine", "nano")
    network, pixels = IntModel.load(q), fitted(read_picture(folder / "cat.png"), config)
    residual = network.run(pixels)
    scores = dequantize(network.logits(residual)[0], network.plan.logit_frac)
    shown = facts(edge_moe, "run", program, "cat.png", "-o", tmp_path / "all.npz")
    assert shown["top_classes"][0] == {"class": scores.argmax(), "score": float(scores.max())}
    assert "mean of features and classifier" in shown["placement"] and "normed_features: after" in shown["features_are"]
    with np.load(tmp_path / "all.npz") as arrays:
        np.testing.assert_array_equal(arrays["logits"], scores)
        np.testing.assert_array_equal(arrays["features"], dequantize(residual, network.plan.residual_frac))
        np.testing.assert_array_equal(arrays["normed_features"], network.normed(residual))
    facts(edge_moe, "run", program, "cat.png", "-o", tmp_path / "after.npy", "--normed")
    np.testing.assert_array_equal(np.load(tmp_path / "after.npy"), network.normed(residual))
    status, _, err = edge_moe("run", "nano.emoe", "cat.png", "-o", tmp_path / "x.npy", "--normed")
    assert status != 0 and "has no final norm: leave --normed out" in err
    status, _, err = edge_moe("run", program, "cat.png", "-o", tmp_path / "x.npz", "--normed")
    assert status != 0 and "a .npz has both" in err


def test_the_plan_w4_from_float_model_to_features(edge_moe, tmp_path, folder):
    q, program = tmp_path / "w4.safetensors", tmp_path / "w4.emoe"
    facts(edge_moe, "quantize", "float.safetensors", "-o", q, "--plan", "w4", "--crops", 4)
    found = facts(edge_moe, "info", q)
    assert (found["plan"], found["packed_weights"]) == ("w4", "experts")
    assert facts(edge_moe, "info", "int.safetensors")["packed_weights"] == "none"
    facts(edge_moe, "compile", q, "-o", program, "--machine", "nano")
    assert facts(edge_moe, "info", program)["plan"] == "w4"
    facts(edge_moe, "run", program, "cat.png", "-o", tmp_path / "out.npy", "--task", "task1")
    network = IntModel.load(q)
    wanted = network.features(fitted(read_picture(folder / "cat.png"), network.config), "task1")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
    status, _, err = edge_moe("quantize", "float.safetensors", "-o", q, "--plan", "w3")
    assert status != 0 and "The plan must be accurate, fast, mixed, w4 or a Plan, not 'w3'" in err
    status, _, err = edge_moe("quantize", "float.safetensors", "-o", q, "--plan", "w4", "--cycle-budget", 5)
    assert status != 0 and "A cycle budget belongs to the mixed plan, not to 'w4'" in err


@pytest.mark.parametrize("path, kind", [
    ("float.safetensors", "float model"), ("int.safetensors", "quantized model"), ("nano.emoe", "program image"),
    ("program.bin", "program image")])
def test_info_knows_each_kind_of_file(edge_moe, path, kind):
    found = facts(edge_moe, "info", path)
    assert found["kind"] == kind and found["model"] == "nano" and found["tokens"] == 33 and found["experts"] == 4
    assert found["backbone_macs"] == NANO.macs and found["head_macs"] is None and found["moe_layers"] == [1]
    assert found["tasks"] == "task0, task1"
    assert found.get("programs") == (None if kind != "program image" else "task0, task1, task0+task1")
    status, out, err = edge_moe("info", path)
    assert status == 0 and kind in out and f"{NANO.macs:,}" in out and err == ""


def test_info_without_a_file_lists_devices_and_machines(edge_moe):
    found = facts(edge_moe, "info")
    assert found["devices"] == ["golden", "pynq", "remote", "sim", "uio", "xrt"]
    status, _, err = edge_moe("run", "nano.emoe", "cat.png", "--device", "ulo:board")
    assert status != 0 and f"installed are {', '.join(found['devices'])}; the nearest one is uio." in err
    zcu102 = {"name": "zcu102", "macs_per_cycle": 2048, "fingerprint": f"0x{ZCU102.fingerprint:016x}"}
    assert zcu102 in found["machines"]


def test_disasm_lists_all_programs_or_one(edge_moe):
    status, out, _ = edge_moe("disasm", "nano.emoe")
    symbols = compiled()[1].symbols
    assert status == 0 and sum(line.startswith("; program ") for line in out.splitlines()) == len(symbols)
    assert out.count("attention") >= sum(s.kind == "ATTENTION" for group in symbols.values() for s in group)
    status, one, _ = edge_moe("disasm", "nano.emoe", "--task", "task1")
    assert status == 0 and one.splitlines()[0].startswith("; program 'task1'") and len(one) < len(out)


def test_tables_are_for_people(edge_moe):
    status, out, err = edge_moe("run", "nano.emoe", "cat.png")
    assert status == 0 and "placement" in out and "100 %" in out and "none" in out and err == ""


def test_the_installed_command_runs(folder, tmp_path):
    command = Path(sys.executable).with_name("edge-moe")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [command, "run", folder / "nano.emoe", folder / "cat.png", "--json", "-o", tmp_path / "x.npy"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["features"] == list(np.load(tmp_path / "x.npy").shape)
    done = subprocess.run([command, "run", folder / "words.emoe", folder / "cat.png"], capture_output=True, text=True,
                          timeout=120, env=environment)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("edge-moe: BadMagic: ")


def test_an_internal_error_is_not_reported_as_a_refusal(monkeypatch, folder):
    def broken(*_):
        raise ValueError("an ordinary bug")
    monkeypatch.setattr(cli.files, "model_facts", broken)
    with pytest.raises(ValueError, match="an ordinary bug"):
        main(["info", str(folder / "nano.emoe")])


def test_the_image_written_is_the_image_compiled(folder):
    assert Image.from_bytes((folder / "nano.emoe").read_bytes()).to_bytes() == compiled()[1].to_bytes()


def test_ffn_widths(edge_moe, folder, tmp_path):
    """Several widths in one program file; a quantized model runs at any width."""
    program, features = tmp_path / "nested.emoe", tmp_path / "features.npy"
    found = facts(edge_moe, "compile", "int.safetensors", "-o", program, "--machine", "nano", "--ffn-width", "0.3, 1")
    network = IntModel.load(folder / "int.safetensors")
    assert found["ffn_neurons"] == "0.3: 64 of 128, 32 of 64 of an expert; 1: 128 of 128, 64 of 64 of an expert"
    assert program.read_bytes() == compile_model(network, MACHINE, widths=(0.3, 1)).to_bytes()
    pixels = fitted(read_picture(folder / "cat.png"), network.config)
    wanted = dequantize(narrow(network, 0.3).run(pixels, "task1"))
    for source in (program, "int.safetensors"):
        found = facts(edge_moe, "run", source, "cat.png", "--machine", "nano", "--task", "task1@0.3", "-o", features,
                      "--save-picture", tmp_path / "sheet.png")
        assert found["task"] == "task1@0.3"
        np.testing.assert_array_equal(np.load(features), wanted)


def test_keep(edge_moe, folder, tmp_path):
    """A program that drops patches: features of those that stay, and which they are."""
    program, arrays = tmp_path / "kept.emoe", tmp_path / "kept.npz"
    found = facts(edge_moe, "compile", "int.safetensors", "-o", program, "--machine", "nano", "--keep", "0:0.5,1:7")
    assert found["patches_kept"] == "16 in block 0, 7 in block 1"
    network = IntModel.load(folder / "int.safetensors")
    network = replace(network, config=replace(network.config, keep=((0, 16), (1, 7))))
    assert program.read_bytes() == compile_model(network, MACHINE).to_bytes()
    found, seen = facts(edge_moe, "run", program, "cat.png", "--machine", "nano", "-o", arrays), {}
    wanted = network.run(fitted(read_picture(folder / "cat.png"), network.config), trace=seen.__setitem__)
    assert found["features"] == [8, 64] and found["patches_kept"] == 7
    written = np.load(arrays)
    np.testing.assert_array_equal(written["features"], dequantize(wanted))
    np.testing.assert_array_equal(written["kept"], seen["blocks.0.kept"][seen["blocks.1.kept"]][1:] - 1)


def test_scales(edge_moe, folder, tmp_path):
    """The picture and its quarters at twice the size, by hand; a folder of pictures; all tasks of a program."""
    network, features = IntModel.load(folder / "int.safetensors"), tmp_path / "features.npy"
    picture = read_picture(folder / "cat.png")
    seen = {s: fitted(picture, network.config, s) for s in (1, 2)}
    assert seen[2].shape == (64, 128, 3)
    found = facts(edge_moe, "run", "nano.emoe", "cat.png", "--scales", "1,2", "-o", features)
    assert found["jobs"] == 5 and found["features"] == [33, 128] and found["scales"] == "1, 2"
    wanted = scaled(network.config, network.features, seen)
    np.testing.assert_array_equal(np.load(features), wanted)
    many, pair = tmp_path / "many", tmp_path / "pair.npz"
    many.mkdir()
    for name in "ab":
        (many / f"{name}.png").write_bytes((folder / "cat.png").read_bytes())
    found = facts(edge_moe, "run", "nano.emoe", many, "--scales", "2,1", "--task", "task0+task1", "-o", pair)
    array = np.load(pair)["features"]
    assert array.shape == (2, 2, 33, 128) and found["pictures"] == 2
    np.testing.assert_array_equal(array[1, 0], np.roll(wanted, 64, 1))
