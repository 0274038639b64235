# SPDX-License-Identifier: Apache-2.0
"""Services in a thread of the test, requests to them, devices that wait or die on command, and a small street model."""

import http.client
import io
import json
import re
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec import machine
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.errors import DeviceLost
from host.service.models import Model, Models
from host.service.run import serve_http
from host.service.service import Limits
from tests.host.support.devices import Slow, compiled

NAMES = ("road", "sky", "vehicle", "person", "vegetation")
HEADS = (HeadConfig("semseg", "semseg", len(NAMES), 32, NAMES), HeadConfig("depth", "depth", 1, 32))
STREET = replace(NANO, name="street", image_height=64, image_width=128, patch=16, tasks=("semseg", "depth"),
                 task_heads=HEADS)


@cache
def street():
    """(integer model, its image for zcu102) of two tasks with heads, seeded."""
    network = random_int_model(STREET, Plan.fast(STREET.depth, HEADS), 3)
    return network, compile_model(network, machine.ZCU102)


def models_of(**images):
    """Models of images, by name, as if they had been read from files."""
    found = Models({name: Model(name, Path(f"{name}.emoe"), image) for name, image in images.items()})
    found.machine = next(iter(images.values())).machine
    for model in found.values():
        model.__dict__["network"] = None  # of a program image there is none
    return found


def nano():
    return models_of(nano=compiled()[1])


class Held(Slow):
    """Jobs end when ``go`` is set."""

    def __init__(self, config=machine.NANO):
        self.go = threading.Event()
        super().__init__(config)

    def wait(self, limit, progress):
        while not self.go.wait(0.005):
            if GoldenDevice.wait(self, limit, progress):
                return True
            progress(0)
        return super().wait(limit, progress)


class Mortal(GoldenDevice):
    """Once ``dies`` is set, the device is lost in the middle of its job, for ever."""

    dies = lost = False

    def wait(self, limit, progress):
        self.lost = self.dies
        self.read32(0)
        return super().wait(limit, progress)

    def read32(self, offset):
        if self.lost:
            raise DeviceLost("The cable of the device was pulled.")
        return super().read32(offset)


class Running:
    """A service in a thread; ``devices``: all that it has opened, ``said``: its report."""

    def __init__(self, models, opens, limits=None):
        self.devices, self.said, self._server = [], [], None
        listens, self.failed = threading.Event(), None

        def opened():
            self.devices.append(opens())
            return self.devices[-1]

        def started(server):
            self._server = server
            listens.set()

        def serves():
            try:
                serve_http(models, opened, port=0, limits=limits or Limits(seconds=30), report=self.said.append,
                           started=started)
            except Exception as error:
                self.failed = error
            finally:
                listens.set()
        self._thread = threading.Thread(target=serves, daemon=True)
        self._thread.start()
        assert listens.wait(30)
        if self.failed is not None:
            raise self.failed
        self.port = int(re.search(r"http://127.0.0.1:(\d+)", "".join(self.said))[1])
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def device(self):
        return self.devices[-1]

    def stop(self):
        self._server.stop()
        self._thread.join(15)
        assert not self._thread.is_alive(), "the service goes on"

    def ask(self, path, data=None, headers=None, method=None):
        """(status, headers, body) of a request."""
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def refused(self, path, data=None, headers=None, method=None):
        """(status, name, sentence) of an error, which has the protocol's form."""
        status, _, body = self.ask(path, data, headers, method)
        assert status >= 400, body[:200]
        found = json.loads(body)
        name, _, sentence = found["error"].partition(": ")
        assert found.keys() == {"error", "name"} and name == found["name"] and sentence.endswith((".", "?")), found
        return status, name, sentence

    def infer(self, model, pixels, **parameters):
        """(status, JSON object, what follows it) of a request in binary form."""
        head = {"parameters": {"binary_data_output": True, **parameters}, "inputs": [
            {"name": "picture", "datatype": "UINT8", "shape": list(pixels.shape),
             "parameters": {"binary_data_size": pixels.size}}]}
        text = json.dumps(head).encode()
        status, headers, body = self.ask(f"/v2/models/{model}/infer", text + pixels.tobytes(), {
            "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))})
        size = int(headers.get("Inference-Header-Content-Length", len(body)))
        return status, json.loads(body[:size]), body[size:]

    def upload(self, picture, name="picture.png", **fields):
        """The answer to a form as the page sends it, or (status, name, sentence)."""
        data, kind = form(picture, name, **fields)
        status, _, body = self.ask("/api/run", data, {"Content-Type": kind})
        return json.loads(body) if status == 200 else self.refused("/api/run", data, {"Content-Type": kind})

    def figures(self):
        """Values of the metrics by name and labels."""
        return {name: float(value) for name, value in re.findall(
            r"^(edge_moe\S+) (\S+)$", self.ask("/metrics")[2].decode(), re.MULTILINE)}

    def raw(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)


def form(picture, name="picture.png", **fields):
    """(body, content type) of a multipart form."""
    edge = "edge-of-the-tests"
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
             for key, value in fields.items()]
    parts += [f'--{edge}\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\nContent-Type: '
              f"image/png\r\n\r\n".encode(), picture, f"\r\n--{edge}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={edge}"


def png(pixels, kind="PNG"):
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def noise(config, seed=1):
    shape = (config.image_height, config.image_width, config.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
