# SPDX-License-Identifier: Apache-2.0
"""`edge-moe serve --http` as a process: many clients, flat memory, signals; and its refusals."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.host.support.commands import refused
from tests.host.support.devices import compiled, picture
from tests.host.support.processes import LIMIT, within
from tests.host.support.services import street

CLIENTS, REQUESTS, WARM = 8, 200, 48
GROWTH = 4 << 20
"""Bytes by which the service may grow over the requests after the first ones: pages of the allocator."""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "nano.emoe"
    compiled()[1].save(path)
    return path


@contextmanager
def served(*words):
    """The command in a process: (process, port)."""
    command = [sys.executable, "-m", "host.cli", "serve", "--http", *map(str, words), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}) as process:
        try:
            for line in process.stdout:
                if found := re.search(r"http://127.0.0.1:(\d+)", line):
                    yield process, int(found[1])
                    break
            else:
                raise AssertionError(f"The command ended with {process.wait(10)}.")
        finally:
            process.kill()


def resident(pid):
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def ask(client, seed):
    """Whether the service's answer to a picture is the integer network's."""
    task = ("task0", "task1")[seed % 2]
    pixels = picture(seed=seed % 20)
    one = triton.InferInput("picture", list(pixels.shape), "UINT8")
    one.set_data_from_numpy(pixels)
    found = client.infer("nano", [one], request_id=str(seed), parameters={"task": task})
    return found.get_response()["id"] == str(seed) and np.array_equal(found.as_numpy("features"), wanted(seed, task))


_WANTED = {}


def wanted(seed, task):
    key = seed % 20, task
    if key not in _WANTED:
        network, image = compiled()
        _WANTED[key] = network.run(picture(seed=seed % 20), task) * np.float32(2.0 ** -image.plan.residual_frac)
    return _WANTED[key]


@pytest.mark.slow
def test_200_requests_of_8_clients_are_all_answered_and_memory_stays_flat(program):
    with served(program, "--device", "golden:nano") as (process, port):
        def client(number):
            with triton.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=60) as opened:
                warm = [ask(opened, seed) for seed in range(number, WARM, CLIENTS)]
                arrived.release()
                go.acquire()
                return warm + [ask(opened, seed) for seed in range(number, REQUESTS, CLIENTS)]
        arrived, go = threading.Semaphore(0), threading.Semaphore(0)
        with ThreadPoolExecutor(CLIENTS) as threads:
            answers = [threads.submit(client, number) for number in range(CLIENTS)]
            for _ in range(CLIENTS):
                arrived.acquire()
            before = resident(process.pid)
            go.release(CLIENTS)
            found = [right for answer in answers for right in answer.result(120)]
        after = resident(process.pid)
        assert len(found) == WARM + REQUESTS and all(found)
        assert after - before < GROWTH, f"{(after - before) >> 10} KiB more"
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as opened:
            assert opened.is_server_ready()
        ends(process, signal.SIGTERM)


def ends(process, number):
    """The process ends well and soon after a signal."""
    process.send_signal(number)
    assert within(4 + LIMIT, lambda: process.poll() is not None), "the service goes on"
    assert process.returncode == 0 and "golden:nano is closed." in process.stdout.read()


def test_ctrl_c_ends_it_while_a_client_says_nothing(program):
    with served(program, "--device", "golden:nano") as (process, port), \
            socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"POST /api/run HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                       b"Content-Length: 100\r\n\r\n")
        time.sleep(0.2)
        ends(process, signal.SIGINT)


def test_refusals(edge_moe, program, tmp_path):
    http = ("serve", "--http", "--device", "golden:nano")
    assert "name program images" in refused(edge_moe, *http)
    assert "add --http" in refused(edge_moe, "serve", program)
    assert "--queue is 1 to 10,000" in refused(edge_moe, *http, program, "--queue", "0")
    assert "port of 0 to 65535" in refused(edge_moe, *http, program, "--port", "65536")
    assert "No such file" in refused(edge_moe, *http, tmp_path / "none.emoe")
    assert "would both be the model 'nano'" in refused(edge_moe, *http, program, copy_of(program, tmp_path))
    street()[1].save(tmp_path / "street.emoe")
    assert "One device serves all models" in refused(edge_moe, *http, program, tmp_path / "street.emoe")
    assert "VersionMismatch" in refused(edge_moe, *http, program, "--machine", "zcu102")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "Choose another --port" in refused(edge_moe, *http, program, "--port", taken.getsockname()[1])
    assert "compiled for the machine 'nano'" in refused(edge_moe, "serve", "--http", program, "--device",
                                                        "golden:zcu102", "--port", "0")


def copy_of(program, folder):
    other = folder / "other"
    other.mkdir()
    path = other / program.name
    path.write_bytes(program.read_bytes())
    return path


def test_a_missing_package_is_named_with_its_extra(edge_moe, program, monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] in ("fastapi", "uvicorn") or name.startswith("host.service"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    text = refused(edge_moe, "serve", "--http", program, "--device", "golden:nano")
    assert "needs the package fastapi of the extra 'serve': pip install 'edge-moe[serve]'" in text
