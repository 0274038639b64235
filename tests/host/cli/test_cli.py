# SPDX-License-Identifier: Apache-2.0
"""Every command on small things: what it writes, what it prints, how it refuses, and with which exit status."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imsave

from golden.model.int_model import IntModel, dequantize
from golden.model.store import load_float, save_float
from golden.model.synthetic import synthetic_model
from golden.spec.machine import NANO as MACHINE
from golden.spec.machine import SMALL
from golden.spec.model import NANO
from golden.spec.program.image import Image
from golden.spec.status import Status
from host import cli, driver
from host.cli import main
from host.compiler.compile import compile_model
from host.images import PictureError, fitted, read_picture
from host.quantizer.crops import photograph
from tests.host.support import layouts
from tests.host.support.devices import CLASSIFIER, Failing, Slow, compiled

COMMANDS = ("import", "quantize", "compile", "run", "accuracy", "disasm", "info")


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
    return root


@pytest.fixture
def edge_moe(folder, capsys, monkeypatch):
    """Runs ``edge-moe`` in process; words naming files of ``folder`` are found there. (status, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def command(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err
    return command


def facts(edge_moe, *words):
    status, out, err = edge_moe(*words, "--json")
    assert status == 0 and "Traceback" not in err, err
    assert len(out.splitlines()) == 1
    return json.loads(out)


def refused(edge_moe, *words, status=2):
    """The one sentence of a refusal."""
    code, out, err = edge_moe(*words)
    assert code == status, err
    assert out == "" and err.startswith("edge-moe: ") and err.count("\n") == 1 and "Traceback" not in err, err
    assert err.rstrip().endswith((".", "?")), err
    return err


# -- commands that work

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
        assert found["mean"] == round(float(wanted.mean()), 5)


def test_quantize_takes_pictures_of_ones_own_and_a_plan(edge_moe, tmp_path):
    target = tmp_path / "q.safetensors"
    found = facts(edge_moe, "quantize", "float.safetensors", "-o", target, "--plan", "accurate", "--images", "cat.png",
                  "--images", "cat.png")
    assert found["calibration_pictures"] == 2
    assert IntModel.load(target).plan.layers[0].norm1


def test_run_without_a_task_or_a_machine_takes_the_first(edge_moe, tmp_path, folder):
    found = facts(edge_moe, "run", "nano.emoe", "cat.png", "-o", tmp_path / "features")
    assert found["task"] == "task0" and found["device"] == "golden:nano"
    network = compiled()[0]
    np.testing.assert_array_equal(np.load(tmp_path / "features"),
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
    assert found["top_classes"].startswith(f"{scores.argmax()} ({scores.max():.2f}), ")
    assert len(found["top_classes"].split(", ")) == 5


@pytest.mark.parametrize("path, kind", [
    ("float.safetensors", "float model"), ("int.safetensors", "quantized model"), ("nano.emoe", "program image"),
    ("program.bin", "program image")])
def test_info_knows_each_kind_of_file(edge_moe, path, kind):
    found = facts(edge_moe, "info", path)
    assert found["kind"] == kind and found["model"] == "nano" and found["tokens"] == 33 and found["experts"] == 4
    assert found["macs"] == NANO.macs and found["tasks"] == "task0, task1"
    assert found.get("programs") == (None if kind != "program image" else "task0, task1, task0+task1")
    status, out, err = edge_moe("info", path)
    assert status == 0 and kind in out and f"{NANO.macs:,}" in out and err == ""


def test_info_without_a_file_lists_devices_and_machines(edge_moe):
    found = facts(edge_moe, "info")
    assert found["devices"] == "golden, sim, uio" and "zcu102 (2048 MAC/cycle, 0x" in found["machines"]


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


# -- refusals

REFUSALS = {
    "no model": (("run", "none.emoe", "cat.png"), "none.emoe: No such file or directory."),
    "no model to compile": (("compile", "none.safetensors", "-o", "x"), "none.safetensors: No such file"),
    "no checkpoint": (("import", "none.pth", "-o", "x"), "none.pth"),
    "a directory for a model": (("run", "directory", "cat.png"), "directory"),
    "a directory for a program": (("disasm", "directory"), "directory: Is a directory."),
    "a directory for a checkpoint": (("import", "directory", "-o", "x"), "directory"),
    "words for a program": (("run", "words.emoe", "cat.png"), "BadMagic: A program image starts with"),
    "a program cut short": (("run", "cut.emoe", "cat.png"), "Truncated: The header promises"),
    "words for a model": (("run", "words.safetensors", "cat.png"), "words.safetensors"),
    "words to compile": (("compile", "words.txt", "-o", "x"), "words.txt"),
    "words to import": (("import", "words.txt", "-o", "x"), "words.txt"),
    "words to describe": (("info", "words.txt"), "words.txt"),
    "nothing to describe": (("info", "none"), "none"),
    "an empty file": (("info", "empty"), "empty"),
    "a float model run": (("run", "float.safetensors", "cat.png"), "nor a quantized model (.safetensors). Quantize"),
    "a checkpoint run": (("run", "checkpoint.pth", "cat.png"), "checkpoint.pth is neither a program image nor a"),
    "a float model compiled": (("compile", "float.safetensors", "-o", "x"), "edge-moe quantize float.safetensors -o"),
    "a program compiled": (("compile", "nano.emoe", "-o", "x"), "nano.emoe is a program image already"),
    "a quantized model quantized": (("quantize", "int.safetensors", "-o", "x"), "is quantized already"),
    "a program quantized": (("quantize", "nano.emoe", "-o", "x"), "nano.emoe"),
    "a model disassembled": (("disasm", "int.safetensors"), "BadMagic: A program image starts with"),
    "no such task to list": (("disasm", "nano.emoe", "--task", "depth"), "has programs for ['task0'"),
    "no such task": (("run", "nano.emoe", "cat.png", "--task", "depth"),
                     "InputError: This program knows the tasks task0, task1, task0+task1, not 'depth'."),
    "no such machine": (("compile", "int.safetensors", "-o", "x", "--machine", "huge"), "There is no machine 'huge'"),
    "another machine": (("run", "nano.emoe", "cat.png", "--machine", "small"),
                        "VersionMismatch: nano.emoe was compiled for the machine 'nano' "
                        f"(0x{MACHINE.fingerprint:016x}), not for 'small' (0x{SMALL.fingerprint:016x})"),
    "no picture": (("run", "nano.emoe", "none.png"), "PictureError: There is no picture file none.png."),
    "an address for a picture": (("run", "nano.emoe", "http://localhost/a.png"), "There is no picture file"),
    "a directory for a picture": (("run", "nano.emoe", "directory"), "There is no picture file directory."),
    "words for a picture": (("run", "nano.emoe", "words.txt"), "words.txt is not a picture that can be read"),
    "words called a picture": (("run", "nano.emoe", "words.png"), "words.png is not a picture that can be read"),
    "an empty picture": (("run", "nano.emoe", "empty"), "empty is not a picture that can be read"),
    "no calibration picture": (("quantize", "float.safetensors", "-o", "x", "--images", "none.png"), "none.png"),
    "no such plan": (("quantize", "float.safetensors", "-o", "x", "--plan", "slow", "--crops", "1"), "'slow'"),
    "a size that is none": (("import", "checkpoint.pth", "-o", "x", "--image", "wide"),
                            "UsageError: An image size is HEIGHTxWIDTH, like 128x256, not 'wide'."),
    "what the checkpoint does not tell": (("import", "checkpoint.pth", "-o", "x"), "AmbiguousModel: "),
    "no place to write": (("compile", "int.safetensors", "-o", "no/such/x", "--machine", "nano"),
                          "no/such/x: No such file or directory."),
    "a directory to write": (("run", "nano.emoe", "cat.png", "-o", "directory"), "directory: Is a directory."),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_one_sentence_and_status_2(edge_moe, what):
    words, sentence = REFUSALS[what]
    assert sentence in refused(edge_moe, *words)
    assert not Path("x").exists()


def test_a_model_too_large_for_the_machine_names_the_memory(edge_moe, tmp_path):
    large = replace(NANO, name="large", image_height=64, image_width=128)
    compiled_model = tmp_path / "large.safetensors"
    from golden.model.random_int_model import random_int_model
    random_int_model(large).save(compiled_model)
    refusal = refused(edge_moe, "compile", compiled_model, "-o", tmp_path / "x", "--machine", "nano")
    assert "NotFitting: 'large' has 129 tokens; the machine 'nano' holds 64." in refusal
    assert refusal.endswith("It fits the machines small, zcu102 and u280.\n")


def test_pickles_are_not_opened(edge_moe, tmp_path):
    class Mischief:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)
    torch.save({"state_dict": Mischief()}, tmp_path / "bad.pth")
    refused(edge_moe, "import", tmp_path / "bad.pth", "-o", tmp_path / "x")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("words, sentence", [
    (("run", "nano.emoe", "cat.png", "--device", "gpu"), "DeviceNotFound: There is no device 'gpu'; installed are"),
    (("run", "nano.emoe", "cat.png", "--device", "uio"), "DeviceNotFound: There is no /dev/uio0. Is the device-tree"),
])
def test_a_device_that_is_not_there_is_status_1(edge_moe, words, sentence):
    assert sentence in refused(edge_moe, *words, status=1)


def test_a_failed_job_is_status_1_and_closes_the_device(edge_moe, monkeypatch):
    board, closed = Failing(), []
    board.status, board.close = Status.R_DECERR, lambda: closed.append(True)
    monkeypatch.setattr(driver, "open_device", lambda name, **options: board)
    assert "BusError: Job 1 ended with R_DECERR: a read was answered with DECERR; instruction 3 (" \
        in refused(edge_moe, "run", "nano.emoe", "cat.png", status=1)
    assert closed == [True]


def test_ctrl_c_is_no_traceback(edge_moe, monkeypatch):
    board = Slow()
    board.interrupted = KeyboardInterrupt()
    monkeypatch.setattr(driver, "open_device", lambda name, **options: board)
    status, out, err = edge_moe("run", "nano.emoe", "cat.png")
    assert status not in (0, 2) and out == "" and "Traceback" not in err
    assert board.writes("CTRL")[-1][2] & 32, "the job was not aborted"


@pytest.mark.parametrize("words", [("fly",), ("run",), ("run", "nano.emoe"), ("compile", "int.safetensors"),
                                   ("run", "nano.emoe", "cat.png", "--colour", "red"),
                                   ("quantize", "float.safetensors", "-o", "x", "--crops", "many")])
def test_a_command_that_makes_no_sense_is_status_2(edge_moe, words):
    status, out, err = edge_moe(*words)
    assert status == 2 and out == "" and "Usage" in err and "Traceback" not in err


def test_an_internal_error_is_not_reported_as_a_refusal(monkeypatch, folder):
    def broken(*_):
        raise ValueError("an ordinary bug")
    monkeypatch.setattr(cli, "_describe", broken)
    with pytest.raises(ValueError, match="an ordinary bug"):
        main(["info", str(folder / "nano.emoe")])


# -- pictures

@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_grey_colour_and_transparent_pictures_are_read(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    imsave(tmp_path / "a.png", pixels, check_contrast=False)
    found = read_picture(tmp_path / "a.png")
    assert found.shape == (20, 30, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, :, 0], pixels if pixels.ndim == 2 else pixels[:, :, 0])


def test_pictures_of_16_bits_and_broken_ones_are_refused(tmp_path):
    imsave(tmp_path / "deep.png", np.zeros((8, 8), np.uint16), check_contrast=False)
    with pytest.raises(PictureError, match="must be an 8-bit grey, RGB or RGBA picture, not uint16"):
        read_picture(tmp_path / "deep.png")
    imsave(tmp_path / "a.png", photograph("chelsea"), check_contrast=False)
    whole = (tmp_path / "a.png").read_bytes()
    for name, data in (("cut.png", whole[:len(whole) // 2]), ("head.png", whole[:20]),
                       ("bent.png", whole[:100] + bytes(50) + whole[150:])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=f"{name} is not a picture that can be read: "):
            read_picture(tmp_path / name)


def test_a_grey_model_gets_a_grey_picture():
    grey = replace(NANO, channels=1, pixel_mean=(0.0,), pixel_std=(1.0,))
    pixels = photograph("chelsea")
    assert fitted(pixels, grey).shape == (32, 64, 1)
    with pytest.raises(PictureError, match="looks at 2 channels; a picture has 1 or 3"):
        fitted(pixels, replace(NANO, channels=2, pixel_mean=(0.0,) * 2, pixel_std=(1.0,) * 2))


def test_the_image_written_is_the_image_compiled(folder):
    assert Image.from_bytes((folder / "nano.emoe").read_bytes()).to_bytes() == compiled()[1].to_bytes()
