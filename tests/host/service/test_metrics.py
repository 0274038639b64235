# SPDX-License-Identifier: Apache-2.0
"""Metrics: every request is counted once, by its model, task and status, and what was measured adds up."""

from golden.device import GoldenDevice
from golden.spec.machine import NANO
from host.service.service import Limits
from tests.host.support.devices import picture
from tests.host.support.services import Mortal, nano, png

REQUESTS = 'edge_moe_requests_total{{model="{}",status="{}",task="{}"}}'


class Counting(GoldenDevice):
    """A job takes 1000 cycles."""

    def _start(self):
        super()._start()
        self._set("CYCLES", 1000)


def test_requests_add_up(serving):
    running = serving(nano(), lambda: Counting(NANO), Limits(seconds=30))
    for _ in range(3):
        assert running.infer("nano", picture())[0] == 200
    assert running.infer("nano", picture(), task="task1")[0] == 200
    assert running.infer("nano", picture()[:3])[0] == 400
    assert running.infer("nano", picture(), task="task9")[0] == 400
    assert running.infer("unknown", picture())[0] == 404
    assert running.upload(png(picture()), experts="false")["model"] == "nano"
    assert running.ask("/api/run", b"", {"Content-Type": "text/plain"})[0] == 415
    found = running.figures()
    counted = {name: value for name, value in found.items() if name.startswith("edge_moe_requests_total")}
    assert counted == {REQUESTS.format("nano", 200, "task0"): 4, REQUESTS.format("nano", 200, "task1"): 1,
                       REQUESTS.format("nano", 400, "task0"): 1, REQUESTS.format("nano", 400, "-"): 1,
                       REQUESTS.format("-", 404, "-"): 1, REQUESTS.format("-", 415, "-"): 1}
    for task, jobs in (("task0", 4), ("task1", 1)):
        labels = f'{{model="nano",task="{task}"}}'
        assert found[f"edge_moe_device_cycles_total{labels}"] == 1000 * jobs
        for histogram in ("queue", "device"):
            assert found[f"edge_moe_{histogram}_seconds_count{labels}"] == jobs
            assert found[f'edge_moe_{histogram}_seconds_bucket{{le="+Inf",model="nano",task="{task}"}}'] == jobs
        assert 0 < found[f"edge_moe_device_seconds_sum{labels}"] < 30
    assert found["edge_moe_requests_active"] == found["edge_moe_queue_length"] == 0
    assert found["edge_moe_queue_capacity"] == 32 and found["edge_moe_device_restarts_total"] == 0
    assert found['edge_moe_device_up{device="golden:nano"}'] == 1


def test_failures_and_restarts_are_counted(serving):
    running = serving(nano(), lambda: Mortal(NANO), Limits(seconds=30))
    running.device.dies = True
    assert running.infer("nano", picture())[0] == 503
    assert running.infer("nano", picture())[0] == 200
    found = running.figures()
    assert found['edge_moe_job_failures_total{error="DeviceLost",model="nano",task="task0"}'] == 1
    assert found["edge_moe_device_restarts_total"] == 1
    assert found[REQUESTS.format("nano", 503, "task0")] == found[REQUESTS.format("nano", 200, "task0")] == 1


def test_labels_are_bounded_by_what_there_is(nanos):
    for name in ("a", "b", "c" * 1000):
        assert nanos.infer(name, picture())[0] == 404
    assert not [name for name in nanos.figures() if 'model="a"' in name or "cccc" in name]
