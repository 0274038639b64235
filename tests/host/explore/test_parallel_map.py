# SPDX-License-Identifier: Apache-2.0
"""Work parallel_map over cores and over a Dask cluster: same results, same order, errors come through."""

import sys

import pytest

from host.parallel_map import ClusterError, parallel_map

ITEMS = list(range(7))


def square(item):
    return item * item


def fails(item):
    if item == 3:
        raise ValueError("three")
    return item


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as found:
        yield found.scheduler_address


@pytest.mark.parametrize("workers", [1, 2])
def test_on_cores(workers):
    told = []
    assert parallel_map(square, ITEMS, workers=workers, report=lambda *now: told.append(now)) == [i * i for i in ITEMS]
    assert told == [(done, len(ITEMS)) for done in range(1, len(ITEMS) + 1)]


def test_nothing_to_do():
    assert parallel_map(square, []) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through(workers):
    with pytest.raises(ValueError, match="three"):
        parallel_map(fails, ITEMS, workers=workers)


def test_on_a_cluster(cluster):
    told = []
    assert parallel_map(square, ITEMS, scheduler=cluster,
                        report=lambda *now: told.append(now)) == [i * i for i in ITEMS]
    assert len(told) == len(ITEMS)
    with pytest.raises(ValueError, match="three"):
        parallel_map(fails, ITEMS, scheduler=cluster)


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"edge-moe\[cluster\]"):
        parallel_map(square, ITEMS, scheduler="tcp://127.0.0.1:1")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://here"])
def test_nobody_at_the_address(address, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("host.parallel_map.TIMEOUT", 1)
    with pytest.raises(ClusterError, match="scheduler"):
        parallel_map(square, ITEMS, scheduler=address)
