# SPDX-License-Identifier: Apache-2.0
"""Examples of the help are executed on small files that are called as in them, but for those that cannot be here."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from golden.model.random_int_model import random_int_model
from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.machine import NANO as MACHINE
from host.cli import app
from host.compiler.compile import compile_model
from host.pictures.animation import save_animation
from tests.host.cli.test_results import CONFIG

NOT_HERE = {"quantize": "takes seconds each; tests/host/cli/test_cli.py quantizes", "train": "takes minutes",
            "evaluate": "takes minutes", "accuracy": "takes minutes", "scenes": "renders for minutes",
            "explore": "takes minutes", "serve": "runs until it is stopped", "import": "checkpoints of real networks"}
WRITES = ("-o", "--save-picture", "--trace")
ELSEWHERE = ("remote:", "--device uio", "dump-sim")
EXAMPLES = [each for name, verb in get_command(app).commands.items() if name not in NOT_HERE for each in verb.examples
            if not any(word in each for word in ELSEWHERE)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that examples name."""
    root = tmp_path_factory.mktemp("examples")
    network = random_int_model(CONFIG, seed=3)
    network.save(root / "model.q.safetensors")
    save_float(synthetic_model(CONFIG, seed=3), root / "model.safetensors")
    (root / "model.emoe").write_bytes(compile_model(network, MACHINE).to_bytes())
    (root / "drive").mkdir()
    pictures = [np.full((32, 64, 3), 40 * number, np.uint8) for number in range(6)]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(root / f"drive/{number}.png")
    Image.fromarray(pictures[1]).save(root / "picture.jpg")
    save_animation(pictures, root / "drive.mp4", 25.0)
    (root / "list.txt").write_text("picture.jpg\ndrive/3.png\n")
    return root


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_does_what_it_shows(example, place, tmp_path, monkeypatch, edge_moe):
    shutil.copytree(place, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    before = set((tmp_path / "here").iterdir())
    began = max(path.stat().st_mtime_ns for path in before)
    words = shlex.split(example)[1:]
    status, out, err = edge_moe(*words)
    assert status == (1 if words[0] == "doctor" else 0), err
    written = [word for option, word in zip(words, words[1:], strict=False) if option in WRITES]
    assert {path.name for path in set((tmp_path / "here").iterdir()) - before} <= set(written) and (out or written)
    assert all(path.stat().st_mtime_ns >= began for path in map(Path, written))


def test_the_list_of_what_is_not_executed_is_of_verbs():
    assert set(NOT_HERE) < set(get_command(app).commands) and len(EXAMPLES) > 15
