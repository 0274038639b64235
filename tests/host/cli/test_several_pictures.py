# SPDX-License-Identifier: Apache-2.0
"""``compile --pictures`` and ``run`` of a folder: pictures share jobs, each result is its picture's."""

import numpy as np
import PIL.Image

from golden.model.int_model import IntModel, dequantize
from golden.spec.machine import NANO as MACHINE
from golden.spec.program.image import Image
from host.compiler.compile import compile_model
from host.images import fitted, read_picture
from tests.host.support.commands import facts


def test_a_folder_of_pictures(edge_moe, folder, tmp_path):
    program, features, shown = tmp_path / "four.emoe", tmp_path / "features.npy", tmp_path / "drive"
    found = facts(edge_moe, "compile", "int.safetensors", "-o", program, "--machine", "nano", "--pictures", "2")
    network = IntModel.load(folder / "int.safetensors")
    assert "task0#2 (" in found["programs"]
    assert program.read_bytes() == compile_model(network, MACHINE, pictures=2).to_bytes()
    assert Image.load(program).pictures("task1#2") == 2
    shown.mkdir()
    pixels = [np.roll(fitted(read_picture(folder / "cat.png"), network.config), 5 * i, 1) for i in range(3)]
    for i, picture in enumerate(pixels):
        PIL.Image.fromarray(picture).save(shown / f"{i}.png")
    wanted = np.stack([dequantize(network.run(picture, "task1")) for picture in pixels])
    found = facts(edge_moe, "run", program, shown, "--task", "task1", "-o", features)
    assert found["pictures"] == 3 and "cycles_for" not in found  # the last job had one
    np.testing.assert_array_equal(np.load(features), wanted)
    (shown / "2.png").unlink()
    for source in (program, "int.safetensors"):
        found = facts(edge_moe, "run", source, shown, "--machine", "nano", "--task", "task1#2", "-o", features)
        assert found["cycles_for"] == "2 pictures together"
        np.testing.assert_array_equal(np.load(features), wanted[:2])
