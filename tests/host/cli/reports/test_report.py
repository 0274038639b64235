# SPDX-License-Identifier: Apache-2.0
"""The verb ``report``: what it writes and prints, what it refuses; files are whole or absent."""

import json
from dataclasses import replace

import pytest

from host.profile import page, run
from tests.host.support.commands import facts, refused

REPORT = ("report", "int.safetensors", "cat.png", "--machine", "nano")


def test_a_page_and_a_trace(edge_moe, tmp_path):
    found = facts(edge_moe, *REPORT, "--task", "task1", "-o", tmp_path / "r.html", "--trace", tmp_path / "t.json")
    text = (tmp_path / "r.html").read_text()
    assert "headroom" in text and 'href="t.json"' in text and "golden:nano" in text
    assert found["cycles"] > 10_000 and found["cycles_from"] == found["layers_from"] == "model"
    assert found["equal_to_the_reference_model"] is None and found["clock"] == "assumed 300 MHz"
    assert found["milliseconds"] == pytest.approx(found["cycles"] / 300e3, abs=1e-3)
    assert f"{found['cycles']:,}" in text and found["written"] == str(tmp_path / "r.html")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert events[0]["args"]["name"] == "nano task1 on golden:nano at assumed 300 MHz, times model" and len(events) > 30


def test_a_program_image_and_a_clock(edge_moe, tmp_path):
    found = facts(edge_moe, "report", "nano.emoe", "cat.png", "-o", tmp_path / "r.html", "--clock", "100",
                  "--task", "task0+task1")
    assert found["clock"] == "100 MHz (given)" and found["pictures_per_second"] == pytest.approx(
        100e6 / found["cycles"], rel=1e-3)
    assert "give the quantized model" in (tmp_path / "r.html").read_text()


def test_half_of_the_neurons(edge_moe, tmp_path):
    whole, half = (facts(edge_moe, *REPORT, "--task", task, "-o", tmp_path / "r.html")
                   for task in ("task0", "task0@0.5"))
    assert half["macs"] < whole["macs"] and half["dram_bytes"] < whole["dram_bytes"]


def test_a_device_that_computes_something_else_has_failed(edge_moe, tmp_path, monkeypatch):
    """The page is written all the same, and says so."""
    right = run.profile
    monkeypatch.setattr(run, "profile", lambda *given: replace(right(*given), exact=False))
    status, _, said = edge_moe(*REPORT, "-o", tmp_path / "r.html")
    assert status == 1 and "The result of the device golden:nano differs from the reference model's" in said
    assert "DIFFERENT" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("words, said", [
    (("report", "int.safetensors", "directory", "-o", "r.html"), "A report is of one picture; directory is a folder"),
    (("report", "int.safetensors", "cat.png", "-o", "r.png"), "must be a file .html, .htm, not 'r.png'"),
    ((*REPORT, "-o", "no/r.html"), "There is no folder no"),
    ((*REPORT, "-o", "r.html", "--trace", "t.txt"), "must be a file .json"),
    ((*REPORT, "-o", "r.html", "--task", "task9"), "task9"),
    ((*REPORT, "-o", "r.html", "--task", "task0#2"), "the program 'task0#2' computes 2: name the one without '#'"),
    ((*REPORT, "-o", "r.html", "--device", "nothing"), "no device 'nothing'"),
    (("report", "float.safetensors", "cat.png", "-o", "r.html"), "neither a program image nor a quantized model"),
    (("report", "int.safetensors", "words.png", "-o", "r.html"), "words.png"),
    (("report", "cut.emoe", "cat.png", "-o", "r.html"), "Truncated"),
    (("report", "huge.emoe", "cat.png", "-o", "r.html"), "huge.emoe")])
def test_refusals(edge_moe, folder, words, said):
    status = 1 if "nothing" in words else 2
    assert said in refused(edge_moe, *words, status=status)
    assert not (folder / "r.html").exists() and not (folder / "r.png").exists()


def test_a_page_that_cannot_be_written_leaves_the_old_one(edge_moe, tmp_path, monkeypatch):
    (tmp_path / "r.html").write_text("old")

    def full(path, write):
        raise OSError(28, "No space left on device", str(path))
    monkeypatch.setattr(page, "write_whole", full)
    assert "No space left" in refused(edge_moe, *REPORT, "-o", tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["r.html"]
