# SPDX-License-Identifier: Apache-2.0
"""Files that commands write: refused before the work, whole or not at all, named in errors; progress, version, help."""

import errno
import os
import shutil
import signal
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image as Picture

from golden.spec import whole_file
from golden.spec.whole_file import write_whole
from host import explore, images, program, sources
from host.driver import device as driver_device
from host.explore import search
from sim.board.build import BuildError
from sim.device import SimDevice
from tests.host.support.commands import refused

WORK = {
    "import": ("import", "checkpoint.pth", "--heads", "2", "--top-k", "2", "--image", "32x64", "-o"),
    "quantize": ("quantize", "float.safetensors", "--crops", "1", "-o"),
    "compile": ("compile", "int.safetensors", "--machine", "nano", "-o"),
    "run": ("run", "nano.emoe", "cat.png", "-o"),
    "sheet": ("run", "nano.emoe", "cat.png", "--save-picture"),
    "train": ("train", "--steps", "1", "-o"),
    "explore": ("explore", "--model", "nano", "--picture"),
}
SUFFIX = {"import": ".safetensors", "quantize": ".safetensors", "compile": ".emoe", "run": ".npz", "sheet": ".png",
          "train": ".safetensors", "explore": ".png"}


@pytest.fixture
def no_work(monkeypatch):
    """Whatever takes long fails the test."""
    def work(*_, **__):
        raise AssertionError("work began before the output was checked")
    for module, name in ((program, "compile_model"), (search, "search"), (images, "read_picture"),
                         (sources, "read_picture"), (driver_device, "entry_points")):
        monkeypatch.setattr(module, name, work)
    monkeypatch.setattr("host.importers.import_checkpoint", work)
    monkeypatch.setattr("host.training.job.run", work)
    assert explore


@pytest.mark.parametrize("what", WORK)
def test_an_output_that_cannot_be_is_refused_before_the_work(what, edge_moe, no_work, tmp_path):
    made = what in ("train", "explore")  # these make the folder
    if not made:
        missing = tmp_path / "no" / f"x{SUFFIX[what]}"
        assert f"There is no folder {missing.parent}" in refused(edge_moe, *WORK[what], missing)
    folder = tmp_path / f"folder{SUFFIX[what]}"
    folder.mkdir()
    assert f"{folder} is a folder" in refused(edge_moe, *WORK[what], folder)
    pipe = tmp_path / f"pipe{SUFFIX[what]}"
    os.mkfifo(pipe)
    assert f"{pipe} is a pipe or device" in refused(edge_moe, *WORK[what], pipe)
    if what != "compile":  # programs are known by their content
        assert "The output must be a file" in refused(edge_moe, *WORK[what], tmp_path / "model.bin")
    else:
        assert "name it like x.emoe" in refused(edge_moe, *WORK[what], tmp_path / "x.safetensors")
    if not made:
        assert sorted(tmp_path.iterdir()) == [folder, pipe]


@pytest.mark.parametrize("what", WORK)
def test_a_folder_without_permission_is_refused_before_the_work(what, edge_moe, no_work, tmp_path, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and real(path, mode))  # root may write
    assert f"The folder {tmp_path} of x{SUFFIX[what]} may not be written to" in refused(
        edge_moe, *WORK[what], tmp_path / f"x{SUFFIX[what]}")


@pytest.mark.parametrize("words, path", [
    (("quantize", "{}", "-o", "{}"), "float.safetensors"),
    (("quantize", "float.safetensors", "--images", "{}", "-o", "{}"), "cat.safetensors"),
    (("import", "{}", "-o", "{}"), "float.safetensors"),
    (("compile", "{}", "-o", "{}"), "int.safetensors"),
    (("compile", "{}", "-o", "link"), "int.safetensors"),
    (("run", "nano.emoe", "{}", "--save-picture", "{}"), "cat.png"),
    (("run", "nano.emoe", "{}", "-o", "{}"), "picture.npy"),
    (("train", "--init", "{}", "-o", "{}"), "float.safetensors"),
    (("explore", "--model", "{}", "--picture", "{}"), "int.png"),
])
def test_the_input_is_not_overwritten(words, path, folder, edge_moe, no_work):
    if not Path(path).exists():
        (folder / path).write_bytes(b"something")
    if "link" in words and not Path("link").exists():
        Path("link").symlink_to(path)
    kept = (folder / path).read_bytes()
    assert "is the input; name another file to write" in refused(edge_moe, *(word.format(path) for word in words))
    assert (folder / path).read_bytes() == kept


def test_nothing_is_written_into_a_folder_that_is_read(edge_moe, folder, tmp_path, no_work):
    drive = tmp_path / "drive"
    drive.mkdir()
    shutil.copy(folder / "cat.png", drive)
    assert "lies in the folder" in refused(edge_moe, "run", "nano.emoe", drive, "-o", drive / "film.gif")
    assert "lies in the folder" in refused(edge_moe, "import", drive, "-o", drive / "model.safetensors")


@pytest.mark.parametrize("what", ["import", "quantize", "compile", "run", "sheet"])
def test_a_full_disk_keeps_the_older_file_and_names_it(what, edge_moe, tmp_path, monkeypatch):
    target, older = tmp_path / f"out{SUFFIX[what]}", b"an older good one"
    target.write_bytes(older)

    def full(part, place):
        assert part.stat().st_size > len(older)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(whole_file.os, "replace", full)
    status, out, err = edge_moe(*WORK[what], target)
    assert status == 2 and out == "" and err.splitlines()[-1] == f"edge-moe: {target}: No space left on device."
    assert target.read_bytes() == older and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("what", ["compile", "run"])
def test_a_disk_that_fills_up_while_writing(what, edge_moe, tmp_path):
    resource = pytest.importorskip("resource")
    target, older = tmp_path / f"out{SUFFIX[what]}", b"an older good one"
    target.write_bytes(older)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        sentence = refused(edge_moe, *WORK[what], target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert f"{target}: File too large." in sentence and ".part" not in sentence
    assert target.read_bytes() == older and list(tmp_path.iterdir()) == [target]


def test_errors_of_whole_files_name_the_file_not_its_part(tmp_path):
    def fails(*error):
        def write(part):
            part.write_text("half")
            raise OSError(*(str(part) if word == "PART" else word for word in error))
        return write

    path = tmp_path / "a.txt"
    for error in ((errno.ENOSPC, "No space"), (errno.EIO, "Broken", "PART"), ("encoder error",)):
        with pytest.raises(OSError) as caught:
            write_whole(path, fails(*error))
        assert caught.value.filename == str(path) and caught.value.strerror == error[min(1, len(error) - 1)]
    with pytest.raises(OSError) as caught:
        write_whole(path, fails(errno.EIO, "Broken", "another file"))
    assert caught.value.filename == "another file" and not list(tmp_path.iterdir())


def test_whole_files_replace_what_a_link_points_to_and_neither_folders_nor_pipes(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a.txt")
    write_whole(tmp_path / "link", lambda part: part.write_text("new"))
    assert (tmp_path / "a.txt").read_text() == "new" and (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe"):
        with pytest.raises(OSError) as caught:
            write_whole(tmp_path / name, lambda part: part.write_text("new"))
        assert caught.value.filename == str(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "link", "pipe"]


def test_a_simulator_that_is_built_tells_so(edge_moe, monkeypatch):
    def board(config, dram, *, dram_bytes, progress):
        progress(f"compiling {config.name}, once; takes minutes: 15 s")
        raise BuildError("There is no compiler.")
    monkeypatch.setattr("sim.device.Board", board)
    status, out, err = edge_moe("run", "nano.emoe", "cat.png", "--device", "sim")
    assert status == 1 and out == ""
    assert err.splitlines() == ["simulated board: compiling nano, once; takes minutes: 15 s",
                                "edge-moe: DeviceNotFound: There is no compiler."]


def test_a_picture_that_is_none_is_refused_before_a_simulator_is_built(edge_moe, monkeypatch):
    def build(*_, **__):
        raise AssertionError("it was opened")
    monkeypatch.setattr(SimDevice, "__init__", build)
    assert "no picture file none.png" in refused(edge_moe, "run", "nano.emoe", "none.png", "--device", "sim")
    assert "not 'depth'" in refused(edge_moe, "run", "nano.emoe", "cat.png", "--device", "sim", "--task", "depth")


@pytest.mark.parametrize("turn", [3, 6])
def test_a_phones_portrait_gives_what_the_upright_picture_gives(turn, edge_moe, tmp_path):
    upright = Picture.open("cat.png").convert("RGB")
    exif = Picture.Exif()
    exif[0x0112] = turn
    lying = upright.transpose({3: Picture.Transpose.ROTATE_180, 6: Picture.Transpose.ROTATE_90}[turn])
    lying.save(tmp_path / "phone.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    found = {}
    for name in ("phone", "upright"):
        run = edge_moe("run", "nano.emoe", tmp_path / f"{name}.png", "-o", tmp_path / f"{name}.npy")
        calibration = edge_moe("quantize", "float.safetensors", "--images", tmp_path / f"{name}.png", "-o",
                               tmp_path / f"{name}.safetensors")
        assert run[0] == calibration[0] == 0
        found[name] = [(tmp_path / f"{name}.{kind}").read_bytes() for kind in ("npy", "safetensors")]
    assert found["phone"] == found["upright"]


def test_the_version(edge_moe):
    status, out, _ = edge_moe("--version")
    assert status == 0 and out.startswith(f"edge-moe {version('edge-moe')}, ABI ")
