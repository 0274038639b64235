# SPDX-License-Identifier: Apache-2.0
"""Refusals of the command line: one sentence on stderr, exit status 2, or 1 for a device that failed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golden.spec.machine import NANO as MACHINE
from golden.spec.machine import SMALL
from golden.spec.model import NANO
from golden.spec.status import Status
from host import driver
from tests.host.support.commands import refused
from tests.host.support.devices import Failing, Slow

X = "x.safetensors"
REFUSALS = {
    "no model": (("run", "none.emoe", "cat.png"), "none.emoe: No such file or directory."),
    "no model to compile": (("compile", "none.safetensors", "-o", "x"), "none.safetensors: No such file"),
    "no checkpoint": (("import", "none.pth", "-o", X), "none.pth"),
    "a directory for a model": (("run", "directory", "cat.png"), "directory"),
    "a directory for a program": (("disasm", "directory"), "'directory' cannot be read: Is a directory."),
    "a directory for a checkpoint": (("import", "directory", "-o", X), "directory"),
    "words for a program": (("run", "words.emoe", "cat.png"), "BadMagic: A program image starts with"),
    "a program cut short": (("run", "cut.emoe", "cat.png"), "Truncated: The header promises"),
    "words for a model": (("run", "words.safetensors", "cat.png"), "words.safetensors"),
    "words to compile": (("compile", "words.txt", "-o", "x"), "words.txt"),
    "words to import": (("import", "words.txt", "-o", X), "words.txt"),
    "words to describe": (("info", "words.txt"), "words.txt"),
    "nothing to describe": (("info", "none"), "none"),
    "an empty file": (("info", "empty"), "empty"),
    "a pipe for a program": (("run", "pipe", "cat.png"), "MissingFile: pipe must be a file or a folder, not a pipe"),
    "a pipe to list": (("disasm", "pipe"), "'pipe' cannot be read: it is a pipe"),
    "a pipe to quantize": (("quantize", "pipe", "-o", X), "MissingFile: pipe must be"),
    "a pipe to describe": (("info", "pipe"), "MissingFile: pipe must be"),
    "a pipe for a picture": (("run", "nano.emoe", "pipe"), "PictureError: pipe must be a picture file, not a"),
    "64 GiB for a program": (("run", "huge.emoe", "cat.png"), "'huge.emoe' has 68719476736 bytes; a program image has"),
    "64 GiB for a model": (("compile", "huge.safetensors", "-o", "x"), "TooLarge: huge.safetensors has 68,719,476,736"),
    "64 GiB for a picture": (("run", "nano.emoe", "huge.png"), "huge.png is not a picture that can be read: "),
    "a float model run": (("run", "float.safetensors", "cat.png"), "If it is a checkpoint, quantize it first"),
    "a checkpoint run": (("run", "checkpoint.pth", "cat.png"), "checkpoint.pth is neither a program image nor a"),
    "a float model compiled": (("compile", "float.safetensors", "-o", "x"), "edge-moe quantize float.safetensors -o"),
    "a program compiled": (("compile", "nano.emoe", "-o", "x"), "nano.emoe is a program image already"),
    "a quantized model quantized": (("quantize", "int.safetensors", "-o", X), "is quantized already"),
    "a program quantized": (("quantize", "nano.emoe", "-o", X), "nano.emoe"),
    "a model disassembled": (("disasm", "int.safetensors"), "BadMagic: A program image starts with"),
    "no such task to list": (("disasm", "nano.emoe", "--task", "depth"), "has programs for ['task0'"),
    "no such task": (("run", "nano.emoe", "cat.png", "--task", "depth"),
                     "InputError: This program knows the tasks task0, task1, task0+task1, not 'depth'."),
    "no such width to run": (("run", "int.safetensors", "cat.png", "--machine", "nano", "--task", "task0@half"),
                             "ConfigError: The width of an FFN is a fraction above 0 and at most 1, like 0.5"),
    "a width that was not compiled": (("run", "nano.emoe", "cat.png", "--task", "task0@0.5"), "not 'task0@0.5'."),
    "no share": (("compile", "int.safetensors", "-o", "x", "--machine", "nano", "--keep", "1:2.5"),
                 "or a number of them, like 3:137; '1:2.5' is neither."),
    "no width": (("compile", "int.safetensors", "-o", "x", "--machine", "nano", "--ffn-width", "1,2"), "not '2'."),
    "no pictures at a time": (("compile", "int.safetensors", "-o", "x", "--machine", "nano", "--pictures", "many"),
                              "ConfigError: A program computes 1 to 16 pictures, a whole number like 4, not 'many'."),
    "too many pictures": (("compile", "int.safetensors", "-o", "x", "--machine", "nano", "--pictures", "9"),
                          "It holds 3 pictures at a time."),
    "a picture too few": (("run", "int.safetensors", "cat.png", "--machine", "nano", "--task", "task0#2"),
                          "InputError: The program 'task0#2' computes 2 pictures at a time; 1 came."),
    "no blocks": (("import", "checkpoint.pth", "-o", X, "--window-blocks", "1,b"),
                  "UsageError: Blocks are whole numbers"),
    "no scales": (("run", "nano.emoe", "cat.png", "--scales", "1,b"), "UsageError: Scales are whole numbers, comma-"),
    "a scale twice": (("run", "nano.emoe", "cat.png", "--scales", "1,1"), "InputError: Scales are different whole"),
    "a picture of scales": (("run", "nano.emoe", "cat.png", "--scales", "1,2", "--save-picture", "a.png"),
                            "UsageError: --scales gives features, no pictures and no dump: name a file .npy or .npz"),
    "no such task at scales": (("run", "nano.emoe", "cat.png", "--scales", "1,2", "--task", "depth"), "not 'depth'."),
    "no such machine": (("compile", "int.safetensors", "-o", "x", "--machine", "huge"), "There is no machine 'huge'"),
    "another machine": (("run", "nano.emoe", "cat.png", "--machine", "small"),
                        "VersionMismatch: nano.emoe was compiled for the machine 'nano' "
                        f"(0x{MACHINE.fingerprint:016x}), not for 'small' (0x{SMALL.fingerprint:016x})"),
    "no picture": (("run", "nano.emoe", "none.png"), "PictureError: There is no picture file none.png."),
    "an address for a picture": (("run", "nano.emoe", "http://localhost/a.png"), "There is no picture file"),
    "a directory for a picture": (("run", "nano.emoe", "directory"), "The folder directory holds no pictures"),
    "words for a picture": (("run", "nano.emoe", "words.txt"), "words.txt is not a picture that can be read"),
    "words called a picture": (("run", "nano.emoe", "words.png"), "words.png is not a picture that can be read"),
    "an empty picture": (("run", "nano.emoe", "empty"), "empty is not a picture that can be read"),
    "no calibration picture": (("quantize", "float.safetensors", "-o", X, "--images", "none.png"), "none.png"),
    "no such plan": (("quantize", "float.safetensors", "-o", X, "--plan", "slow", "--crops", "1"), "'slow'"),
    "a size that is none": (("import", "checkpoint.pth", "-o", X, "--image", "wide"),
                            "UsageError: An image size is HEIGHTxWIDTH, like 128x256, not 'wide'."),
    "what the checkpoint does not tell": (("import", "checkpoint.pth", "-o", X), "AmbiguousModel: "),
    "no place to write": (("compile", "int.safetensors", "-o", "no/such/x", "--machine", "nano"),
                          "UsageError: There is no folder no/such for x."),
    "a directory to write": (("run", "nano.emoe", "cat.png", "-o", "directory"), "UsageError: directory is a folder"),
    "no place for an import": (("import", "checkpoint.pth", "-o", "no/such/" + X), "There is no folder no/such"),
    "an import over its checkpoint": (("import", "float.safetensors", "-o", "float.safetensors"),
                                      "UsageError: float.safetensors is the input"),
    "quantized over the float model": (("quantize", "float.safetensors", "-o", "./float.safetensors"),
                                       "float.safetensors is the input"),
    "a program over its model": (("compile", "int.safetensors", "-o", "int.safetensors"), "is the input"),
    "numbers that are none": (("import", "checkpoint.pth", "-o", X, "--pixel-mean", "grey"),
                              "UsageError: Numbers are comma-separated, like 0.485,0.456,0.406, not 'grey'."),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_one_sentence_and_status_2(edge_moe, what):
    words, sentence = REFUSALS[what]
    assert sentence in refused(edge_moe, *words)
    assert not Path("x").exists() and not Path(X).exists()


def test_a_model_too_large_for_the_machine_names_the_memory(edge_moe, tmp_path):
    large = replace(NANO, name="large", image_height=64, image_width=128)
    compiled_model = tmp_path / "large.safetensors"
    from golden.model.random_int_model import random_int_model
    random_int_model(large).save(compiled_model)
    refusal = refused(edge_moe, "compile", compiled_model, "-o", tmp_path / "x", "--machine", "nano")
    assert "NotFitting: 'large' has 129 tokens; the machine 'nano' holds 64." in refusal
    assert refusal.endswith("It fits the machines small, kv260, zcu102 and u280.\n")


def test_pickles_are_not_opened(edge_moe, tmp_path):
    class Mischief:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)
    torch.save({"state_dict": Mischief()}, tmp_path / "bad.pth")
    refused(edge_moe, "import", tmp_path / "bad.pth", "-o", tmp_path / X)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("words, sentence", [
    (("run", "nano.emoe", "cat.png", "--device", "gpu"), "DeviceNotFound: There is no device 'gpu'; installed are"),
    (("run", "nano.emoe", "cat.png", "--device", "uio"), "DeviceNotFound: No UIO node is called edge-moe; there are"),
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


@pytest.mark.parametrize("verb", ["import", "quantize"])
def test_a_model_that_the_chosen_machine_does_not_hold_is_refused_early(edge_moe, tmp_path, verb):
    """The sentence names tokens, widths and presets that hold it; nothing is written."""
    from golden.model.store import save_float
    from golden.model.synthetic import synthetic_model
    large = tmp_path / "large.safetensors"
    save_float(synthetic_model(replace(NANO, name="large", image_height=64, image_width=128)), large)
    refusal = refused(edge_moe, verb, large, "-o", tmp_path / X, "--machine", "nano")
    assert "'large' has 129 tokens; the machine 'nano' holds 64. The model: 129 tokens of 64 channels" in refusal
    assert refusal.endswith("It fits the machines small, kv260, zcu102 and u280.\n") and not (tmp_path / X).exists()
