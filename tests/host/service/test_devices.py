# SPDX-License-Identifier: Apache-2.0
"""Devices that fail, wait or stay away: each has a name, the next request works, and no wait is endless."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.spec.machine import NANO
from host.driver import open_device
from host.driver.errors import DeviceNotFound, VersionMismatch
from host.driver.remote.token import VALUE
from host.service import service as waiting
from host.service import worker
from host.service.service import Limits
from tests.host.support.devices import compiled, picture
from tests.host.support.processes import within
from tests.host.support.served import TOKEN, Endless, process
from tests.host.support.services import Held, Mortal, Running, models_of, nano, street


def background(do, *arguments, **options):
    """A thread that runs ``do``; ``thread.result()`` waits for what it gives."""
    found = []
    thread = threading.Thread(target=lambda: found.append(do(*arguments, **options)), daemon=True)
    thread.start()

    def result():
        thread.join(30)
        return found[0]
    thread.result = result
    return thread


def asks(running):
    """State of a service as the page asks for it."""
    return json.loads(running.ask("/api/state")[2])


def works(running, name="nano", seed=0):
    """A request gets the features that the integer network computes."""
    status, about, data = running.infer(name, picture())
    assert status == 200 and about["model_name"] == name, about
    network, image = compiled(seed=seed)
    wanted = network.run(picture(), "task0") * np.float32(2.0 ** -image.plan.residual_frac)
    assert about["outputs"][0]["name"] == "features" and data == wanted.astype("<f4").tobytes()


def test_a_device_lost_in_the_middle_of_a_job_has_a_name_and_the_next_request_works(serving, monkeypatch):
    monkeypatch.setattr(worker, "WATCH", 60.0)
    running = serving(nano(), lambda: Mortal(NANO))
    works(running)
    running.device.dies = True
    status, about, _ = running.infer("nano", picture())
    assert (status, about["error"]) == (503, "DeviceLost: The cable of the device was pulled.")
    assert within(5, lambda: asks(running)["restarts"] == 1)  # without a request that asks for it
    works(running)
    found = asks(running)
    assert (found["status"], found["restarts"], len(running.devices)) == ("ready", 1, 2)
    assert found["error"] == about["error"] and any("opened again" in line for line in running.said)


def test_a_killed_server_of_a_remote_device(serving, monkeypatch):
    monkeypatch.setenv(VALUE, TOKEN)
    monkeypatch.setattr(worker, "WATCH", 60.0)
    environment = {"PYTHONPATH": os.getcwd()}
    with process("golden:nano", environment=environment) as (server, address):
        running = serving(nano(), lambda: open_device(f"remote:{address}"))
        works(running)
        os.kill(server.pid, signal.SIGSTOP)  # it takes the request and does not come to its end
        asked = background(running.infer, "nano", picture())
        assert within(10, lambda: asks(running)["status"] == "busy")
        server.kill()
        status, about, _ = asked.result()
        assert status == 503 and about["error"].startswith("DeviceLost: The connection to golden:nano"), about
        assert asks(running)["status"] == "lost" and running.ask("/v2/health/ready")[0] == 503
    with process("golden:nano", "--port", address.rpartition(":")[2], environment=environment):
        works(running)
    assert asks(running)["restarts"] == 1


def test_an_idle_device_that_is_gone_is_noticed_and_opened_again(serving, monkeypatch):
    monkeypatch.setattr(worker, "WATCH", 0.05)
    running = serving(nano(), lambda: GoldenDevice(NANO))
    running.device.close()
    assert within(10, lambda: asks(running)["restarts"] == 1 and asks(running)["status"] == "ready")
    works(running)


def test_a_device_that_stays_away_is_named_within_seconds(serving, monkeypatch):
    monkeypatch.setattr(worker, "REOPEN", 0.5)
    there = [True]

    def opens():
        if not there[0]:
            raise DeviceNotFound("There is no board at this node.")
        return Mortal(NANO)
    running = serving(nano(), opens)
    there[0], running.device.dies = False, True
    assert running.infer("nano", picture())[0] == 503
    began = time.monotonic()
    status, about, _ = running.infer("nano", picture())
    assert (status, about["error"]) == (503, "DeviceNotFound: There is no board at this node.")
    assert 0.2 < time.monotonic() - began < 5
    there[0] = True
    works(running)


def test_what_no_driver_raises_is_a_device_that_failed(serving):
    class Broken(Mortal):
        def wait(self, limit, progress):
            if self.dies:
                raise ZeroDivisionError
            return super().wait(limit, progress)
    running = serving(nano(), lambda: Broken(NANO))
    running.device.dies = True
    status, about, _ = running.infer("nano", picture())
    assert status == 500 and about["name"] == "InternalError" and any("ZeroDivision" in line for line in running.said)
    works(running)


def test_a_full_queue_says_when_to_come_again(serving):
    running = serving(nano(), Held, Limits(queue=2, seconds=30))
    asked = [background(running.infer, "nano", picture())]
    assert within(5, lambda: asks(running)["status"] == "busy")
    asked += [background(running.infer, "nano", picture()) for _ in range(2)]
    assert within(5, lambda: asks(running)["queue"] == 2)
    status, headers, body = running.ask("/v2/models/nano/infer", *_listed())
    assert (status, headers["Retry-After"]) == (503, "2") and b"QueueFull: 2 requests wait" in body
    running.device.go.set()
    assert [thread.result()[0] for thread in asked] == [200] * 3


def _listed():
    pixels = picture()
    one = {"name": "picture", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.reshape(-1).tolist()}
    return json.dumps({"inputs": [one]}).encode(), {"Content-Type": "application/json"}


def test_a_request_that_waits_too_long_ends_and_leaves_no_job(serving):
    running = serving(nano(), Held, Limits(queue=8, seconds=30))
    first = background(running.infer, "nano", picture())
    assert within(5, lambda: asks(running)["status"] == "busy")
    status, about, _ = running.infer("nano", picture(), timeout=200_000)
    assert status == 504 and about["error"] == ("RequestTimeout: There was no result within 0.2 seconds; the request "
                                                "was in the queue.")
    assert asks(running)["queue"] == 0
    running.device.go.set()
    assert first.result()[0] == 200


def test_a_job_that_takes_too_long_is_aborted(serving):
    running = serving(nano(), lambda: Endless(NANO))
    status, about, _ = running.infer("nano", picture(), timeout=300_000)
    assert status == 504 and about["error"].endswith("the request was on the device.")
    assert within(5, lambda: asks(running)["status"] == "ready")
    assert asks(running)["restarts"] == 0
    failures = 'edge_moe_job_failures_total{error="GivenUp",model="nano",task="task0"}'
    assert running.figures()[failures] == 1


def test_progress_of_a_job_is_told(serving):
    running = serving(nano(), lambda: Endless(NANO))
    asked = background(running.infer, "nano", picture(), timeout=1_500_000)
    assert within(5, lambda: 0 < (asks(running)["progress"] or 0) < 1)
    assert asked.result()[0] == 504
    assert within(5, lambda: asks(running)["progress"] is None)


def test_a_client_that_leaves_takes_its_job_along(serving, monkeypatch):
    monkeypatch.setattr(waiting, "TICK", 0.02)
    running = serving(nano(), lambda: Endless(NANO))
    connection = running.raw()
    connection.request("POST", "/v2/models/nano/infer", *_listed())
    assert within(5, lambda: asks(running)["status"] == "busy")
    connection.close()
    assert within(5, lambda: asks(running)["status"] == "ready")


def test_two_models_share_a_device(serving):
    running = serving(models_of(one=compiled()[1], other=compiled(seed=5)[1]), lambda: GoldenDevice(NANO))
    for name, seed in (("one", 0), ("other", 5), ("one", 0)):
        works(running, name, seed)


def test_a_device_that_is_another_machine_is_refused_at_once():
    with pytest.raises(VersionMismatch, match="compiled for the machine 'zcu102'"):
        Running(models_of(street=street()[1]), lambda: GoldenDevice(NANO))


def test_a_device_that_hears_nothing_does_not_hold_up_the_end(serving):
    class Deaf(Held):
        def wait(self, limit, progress):
            self.go.wait()
            return super().wait(limit, progress)
    running = serving(nano(), lambda: Deaf(NANO))
    asked = background(running.infer, "nano", picture())
    assert within(5, lambda: asks(running)["status"] == "busy")
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 12 and running.said[-1].endswith("is left to it.")
    running.device.go.set()
    status, about, _ = asked.result()
    assert (status, about["name"]) == (503, "ServiceClosing")


def test_the_end_refuses_what_waits_and_stops_what_runs(serving):
    running = serving(nano(), lambda: Endless(NANO), Limits(queue=8, seconds=30))
    asked = [background(running.infer, "nano", picture()) for _ in range(3)]
    assert within(5, lambda: asks(running)["queue"] == 2)
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 12
    for thread in asked:
        status, about, _ = thread.result()
        assert (status, about["name"]) == (503, "ServiceClosing")
    assert running.device.closed and running.said[-1].endswith("is closed.")
