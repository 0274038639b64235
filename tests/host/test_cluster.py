# SPDX-License-Identifier: Apache-2.0
"""Devices of a Dask cluster in a pool: frames in order, a worker killed on the way, workers without such a device."""

import os
import signal

import numpy as np
import PIL.Image
import pytest

from host.cluster import cluster_devices
from host.driver import Session, open_device
from host.driver.errors import DeviceNotFound
from host.driver.pool import Pool
from host.driver.remote.token import VALUE
from host.parallel_map import ClusterError
from tests.host.support.commands import facts, refused
from tests.host.support.devices import compiled, picture
from tests.host.support.served import TOKEN

distributed = pytest.importorskip("distributed", reason="the cluster's package is an extra")


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv(VALUE, TOKEN)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as found:
        yield found


def exact(results, pictures):
    network = compiled()[0]
    for result, pixels in zip(results, pictures, strict=True):
        np.testing.assert_array_equal(result.residuals["task0"], network.run(pixels, "task0"))


def test_frames_on_the_devices_of_all_workers(cluster):
    pictures = [picture(seed=seed) for seed in range(6)]
    with cluster_devices(cluster.scheduler_address, "golden:nano") as served:
        assert len(served.names) == 2 and not served.refused
        with Pool(served.names, compiled()[1]) as pool:
            exact(pool.run(pictures, "task0"), pictures)
            assert sum(pool.figures.frames.values()) == 6 and len(pool.figures.frames) == 2
    for name in served.names:
        with pytest.raises(DeviceNotFound):
            open_device(name)


def test_no_frame_is_lost_with_a_worker_that_is_killed():
    pictures, found = [picture(seed=seed) for seed in range(30)], []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, \
            cluster_devices(cluster.scheduler_address, "golden:nano") as served, \
            Pool(served.names, compiled()[1]) as pool:
        for results in pool.batches(([pixels], "task0") for pixels in pictures):
            found += results
            if len(found) == 2:
                os.kill(next(iter(cluster.workers.values())).process.process.pid, signal.SIGKILL)  # at once, not soon
        exact(found, pictures)
        assert len(pool.figures.lost) == 1 and len(pool.devices) == 1


def test_what_no_worker_has_is_refused_with_each_reason(cluster):
    with pytest.raises(ClusterError, match=r"No worker of .* has a device 'uio:nowhere'\. tcp://.*DeviceNotFound: "), \
            cluster_devices(cluster.scheduler_address, "uio:nowhere"):
        pass


def test_no_scheduler_is_told(monkeypatch):
    monkeypatch.setattr("host.parallel_map.TIMEOUT", 1)
    with pytest.raises(ClusterError, match="No Dask scheduler answers"), cluster_devices("tcp://127.0.0.1:1", "golden"):
        pass


def test_the_command_shares_a_folder_among_the_workers(cluster, edge_moe, tmp_path):
    """And refuses what cannot be shared, before anything is opened."""
    (tmp_path / "drive").mkdir()
    for seed in range(4):
        PIL.Image.fromarray(picture(seed=seed)).save(tmp_path / f"drive/{seed}.png")
    compiled()[1].save(tmp_path / "nano.emoe")
    words = ("run", tmp_path / "nano.emoe", tmp_path / "drive", "--task", "task0", "--scheduler",
             cluster.scheduler_address)
    found = facts(edge_moe, *words, "--device", "golden:nano", "-o", tmp_path / "out.npz")
    assert found["pictures"] == 4 and found["device"].count("golden:nano at ") == 2
    with np.load(tmp_path / "out.npz") as arrays:
        alone = Session(compiled()[1], open_device("golden:nano")).frame(picture(seed=3), "task0")
        np.testing.assert_array_equal(arrays["features"][3], alone["features"])
    assert "takes one --device" in refused(edge_moe, *words, "--device", "golden", "--device", "sim")
    assert "share a folder" in refused(edge_moe, *words, "--device", "golden", "--scales", "1,2")
