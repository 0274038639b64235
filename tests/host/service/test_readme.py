# SPDX-License-Identifier: Apache-2.0
"""The examples of the service's page of documentation work as they stand there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import host.service
from host.service import bodies, tensors
from host.service.service import QUEUE, SECONDS, Limits
from tests.host.support.services import STREET, noise, png

README = (Path(host.service.__file__).parent / "README.md").read_text()


def example(start, streets):
    """The indented block that begins with ``start``, for the port of the tests' service."""
    block = README[README.index(start):].partition("\n\n")[0]
    text = re.sub(r"^    ", "", block, flags=re.MULTILINE)
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{streets.port}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_commands(streets, tmp_path):
    (tmp_path / "picture.jpg").write_bytes(png(noise(STREET), "JPEG"))

    def answer(start):
        done = subprocess.run(["bash", "-c", example(start, streets)], cwd=tmp_path, capture_output=True, text=True,
                              timeout=60)
        return [json.loads(line) for line in done.stdout.replace("}{", "}\n{").splitlines()]
    metadata, shown = answer("curl http")
    assert metadata["name"] == shown["model"] == "street" and shown["maps"][1]["kind"] == "depth"
    found, = answer("head='")
    assert found["outputs"][0]["name"] == "depth" and found["outputs"][0]["shape"] == [64, 128]
    assert found["parameters"]["task"] == "depth"


def test_the_client_in_python(streets):
    names = {}
    exec(example("import numpy", streets) + "\n" + example("client =", streets), names)
    assert names["classes"].shape == names["metres"].shape == (64, 128) and names["metres"].dtype == np.float32


def test_the_limits_are_those_of_the_code():
    for text in (f"{tensors.MOST_PIXELS:,} pixels", f"{tensors.MOST_JSON >> 20} MiB of JSON",
                 f"{bodies.SECONDS:g} seconds for a body", f"| {bodies.MOST_BYTES >> 20} MiB", f"`--queue` ({QUEUE})",
                 f"`--timeout` ({SECONDS:g} seconds)", f"{Limits().open} have a body"):
        assert text in README, text


def test_the_metrics_are_those_that_there_are(streets):
    assert streets.upload(png(noise(STREET)), experts="false")["model"] == "street"
    there = {re.sub("_(bucket|count|sum)$", "", re.match(r"\w+", name)[0]) for name in streets.figures()}
    told = set(re.findall(r"`(edge_moe_\w+)`", README))
    assert there <= told and told - there <= {"edge_moe_job_failures_total"}
